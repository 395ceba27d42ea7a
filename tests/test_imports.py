"""Who may import whom, and what a plain `import gaincell` costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gaincell

SOURCE = Path(gaincell.__file__).parent

# Nothing imports from a later row than its own.
ROWS = (
    ("errors", "version", "atomic", "files", "progress", "wheel", "cell", "config", "digital_heads"),
    ("ops", "circuit", "hardware"),
    ("models",),
    ("adapt", "autoload", "evaluate"),
    ("explore", "study", "reproduce", "report"),
    ("cli",),
)
ROW_OF = {room: row for row, rooms in enumerate(ROWS) for room in rooms}
HEAVY = {"torch", "transformers"}
LIGHT = (
    "errors",
    "version",
    "atomic",
    "files",
    "progress",
    "wheel",
    "cell",
    "config",
    "digital_heads",
    "circuit",
    "hardware",
    "study",
    "cli",
)

FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(node: ast.AST, path: Path) -> list[str]:
    """Full dotted names that an import statement asks for: module, and module.name of a `from` import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = ("gaincell", *path.relative_to(SOURCE).parent.parts)
        base = ".".join((*package[: len(package) - node.level + 1], *filter(None, [node.module])))
    return [f"{base}.{alias.name}" for alias in node.names]


def rooms_imported(path: Path) -> set[str]:
    """Rooms that a file imports from anywhere in it, inside functions and for type checking too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for name in imported_modules(node, path):
            top, _, rest = name.partition(".")
            if top != "gaincell" or rest == "__version__":
                continue
            home = gaincell._HOMES.get(rest, name)  # `from gaincell import attention` is an import of its home
            rooms.add(home.split(".")[1] if "." in home else "gaincell")
    return rooms - {room_of(path)}


def run_at_import(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements that run when the module is imported: not in functions, not under `if TYPE_CHECKING`."""
    found = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            found += run_at_import(node.orelse)
            continue
        found.append(node)
        for part in ("body", "orelse", "finalbody"):
            found += run_at_import(getattr(node, part, []))
        for handler in getattr(node, "handlers", []):
            found += run_at_import(handler.body)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_only_rooms_of_its_own_row_or_earlier(path: Path) -> None:
    room = room_of(path)
    assert room in ROW_OF, f"give the room '{room}' its place in ROWS"
    for other in rooms_imported(path):
        assert other in ROW_OF, f"{room} imports '{other}', which has no place in ROWS"
        assert ROW_OF[other] <= ROW_OF[room], f"{room} must not import {other}"


@pytest.mark.parametrize(
    "path", [p for p in FILES if room_of(p) in LIGHT], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_light_rooms_import_no_torch_or_transformers_at_module_level(path: Path) -> None:
    for node in run_at_import(ast.parse(path.read_text("utf-8")).body):
        assert not HEAVY & {name.split(".")[0] for name in imported_modules(node, path)}, ast.unparse(node)


@pytest.mark.parametrize(
    "room", ["", *(f".{r}" for r in LIGHT if (SOURCE / r).is_dir() or (SOURCE / f"{r}.py").exists())]
)
def test_importing_a_light_room_pulls_in_no_torch_or_transformers(room: str) -> None:
    code = f"import sys, gaincell{room}; print(*sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


def test_public_names_are_the_lazy_ones_and_the_version() -> None:
    assert sorted(gaincell.__all__) == sorted([*gaincell._HOMES, "__version__"])
    assert dir(gaincell) == sorted(gaincell.__all__)


@pytest.mark.parametrize("name", sorted(gaincell._HOMES))
def test_public_name_resolves(name: str) -> None:
    found, home = getattr(gaincell, name), sys.modules[gaincell._HOMES[name]]
    assert callable(found)
    # `gaincell.adapt` is a package of that name, too, and can be called as one.
    assert found is getattr(home, name) or (found is home and name == "adapt")


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'atention'"):
        _ = gaincell.atention


def test_the_rule_sees_every_form_of_import(tmp_path: Path) -> None:
    path = SOURCE / "ops" / "example.py"
    tree = ast.parse(
        "from ..models import ring_cache\nfrom . import blocked\nimport gaincell.cli.main\nfrom gaincell import adapt"
    )
    names = [name for node in tree.body for name in imported_modules(node, path)]
    assert names == ["gaincell.models.ring_cache", "gaincell.ops.blocked", "gaincell.cli.main", "gaincell.adapt"]


def test_the_page_on_architecture_has_the_rule_and_every_room() -> None:
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text("utf-8")
    assert "\n  <- ".join(", ".join(row) for row in ROWS) in page
    for room in {path.relative_to(SOURCE).parts[0] for path in FILES} - {"autoload.py", "version.py", "wheel.py"}:
        assert re.search(rf"^\| .*`{room}(/|)`.*\|", page, re.MULTILINE), (
            f"say in the table of rooms what {room} is for"
        )


@pytest.mark.parametrize(
    "path", [p for p in FILES if room_of(p) != "cli"], ids=lambda path: str(path.relative_to(SOURCE))
)
def test_no_room_starts_a_command(path: Path) -> None:
    """Not by its module in a subprocess either; what a command does can be called."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        assert not (isinstance(node, ast.Constant) and str(node.value).startswith("gaincell.cli")), ast.unparse(node)


def test_no_files_import_each_other_in_a_circle() -> None:
    """Neither inside a room nor across, in functions and for type checking neither."""
    modules = {"gaincell." + ".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    imports: dict[str, set[str]] = {}
    for module, path in modules.items():
        asked = {x for node in ast.walk(ast.parse(path.read_text("utf-8"))) for x in imported_modules(node, path)}
        # Of a name that is no module, the module that it is in; public names of the package, where they live.
        homes = {gaincell._HOMES.get(name.removeprefix("gaincell."), name) for name in asked}
        imports[module] = {next((m for m in (x, x.rpartition(".")[0]) if m in modules), "") for x in homes} - {
            module,
            "",
        }

    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for other in sorted(imports[module]):
                visit(other, (*above, module))
            done.add(module)

    for module in sorted(modules):
        visit(module, ())
