"""Every code block of the documentation does what its page says."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocks import ROOT, check_command_lines, command_lines, files, pages, parse, unlike
from sybil import Document, Example

DOCUMENTS = {str(path.relative_to(ROOT)): parse(path) for path in pages()}


@pytest.fixture(scope="module")
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for a page, with the files that it shows. It goes when the page is done, models and all."""
    document: Document = DOCUMENTS[request.param]
    folder = tmp_path_factory.mktemp(Path(request.param).stem)
    for name, content in files(document).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, "utf-8")
    yield folder
    document.namespace.clear()
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(name, block, id=f"{name}:{block.line}")
        for name, document in DOCUMENTS.items()
        for block in document.examples()
    ],
    indirect=["page"],
    scope="module",
)
def test_a_block_runs_and_prints_what_its_page_shows(
    page: Path, block: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(page)
    block.evaluate()


def test_pages_are_found() -> None:
    assert {"README.md", "docs/index.md", "docs/commands.md"} <= set(DOCUMENTS)


def parsed(tmp_path: Path, text: str) -> list[Example]:
    path = tmp_path / "page.md"
    path.write_text(text, "utf-8")
    return list(parse(path).examples())


SHARED = """
```bash
echo 3 > n.txt
```

```python
from pathlib import Path

n = int(Path("n.txt").read_text())
```

```python
print(n)
```

```output
3
```

```bash
cat n.txt
```

```output
4
```
"""


def test_blocks_of_a_page_share_names_files_and_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    *run, last = parsed(tmp_path, SHARED)
    for example in run:
        example.evaluate()
    with pytest.raises(AssertionError, match="the page shows 4, and 3 was printed"):
        last.evaluate()


def test_a_failing_command_fails_its_block(tmp_path: Path) -> None:
    (example,) = parsed(tmp_path, "```bash\nfalse\ntrue\n```\n")
    with pytest.raises(AssertionError, match="exit code 1"):
        example.evaluate()


@pytest.mark.parametrize("marker", ["<!-- not run -->", "<!-- not run: -->", "<!-- needs: -->"])
def test_a_marker_without_reason_is_refused(tmp_path: Path, marker: str) -> None:
    with pytest.raises(ValueError, match="say why"):
        parsed(tmp_path, f"{marker}\n```bash\nmake demo\n```\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<!-- not run: a day -->\n\n```bash\ntrue\n```\n", "no block to run follows"),
        ('<!-- not run: a day -->\n```yaml title="a"\n```\n```bash\ncat a\n```\n', "no block to run follows"),
        ('```yaml title="a.yaml"\n```\n', "no other block"),
        ("```yaml\na: 1\n```\n", "would not be checked"),
        ("```\na\n```\n", "would not be checked"),
        ("```console\n$ true\n```\n", "would not be checked"),
        ("```python linenums\n```\n", "not understood"),
        ("```text\na\n```\n```output\na\n```\n", "has to follow"),
    ],
)
def test_a_block_that_nothing_would_check_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parsed(tmp_path, text)


def test_a_block_left_out_is_read_all_the_same(tmp_path: Path) -> None:
    marker = "<!-- not run: an hour -->\n"
    for block in ("python\n1 +\n", "bash\nif\n", "bash\ngaincell cost --no-such\n"):
        (example,) = parsed(tmp_path, f"{marker}```{block}```\n")
        with pytest.raises(Exception, match=r"invalid syntax|non-zero|No such option"):
            example.evaluate()


def test_a_block_is_left_out_for_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.ROOT", tmp_path)
    for program, outcome in (("bash", None), ("no-such-program", pytest.skip.Exception)):
        (example,) = parsed(tmp_path, f"<!-- needs: {program} -->\n```python\nran = True\n```\n")
        if outcome:
            with pytest.raises(outcome, match=r"page\.md:2 not run: needs no-such-program"):
                example.evaluate()
        else:
            example.evaluate()
            assert example.namespace["ran"]


def test_command_lines_are_found() -> None:
    script = (
        'gaincell cost gpt2 \\\n  --out a | tee "b c"  # gaincell no\nmake x && gaincell doctor\nx gaincell.cli fit\n'
    )
    assert list(command_lines(script)) == [["cost", "gpt2", "--out", "a"], ["doctor"], ["fit"]]


def test_every_command_line_is_checked() -> None:
    check_command_lines("gaincell --version; gaincell circuit fetch\ngaincell adapt demo --set a=1 --set b=2")
    for wrong in ("gaincell nothing", "gaincell circuit nothing", "gaincell cost --out", "gaincell fit x --tua 1"):
        with pytest.raises(Exception, match=r"No such (command|option)|requires an argument"):
            check_command_lines(f"gaincell doctor && {wrong}")


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("latency  65 ns", "latency 65.9 ns\n", True),
        ("latency 65 ns", "latency 67 ns", False),
        ("latency 65 ns", "latency 65 us", False),
        ("1,024 tokens, -2.0e-3", "1,030 tokens, -2.01e-3", True),
        ("first ... last 3", "first\nand so on\nlast 3", True),
        ("first ... last 3", "first\nand so on\nlast 4", False),
        ("2 ... 10 ns ...", "2 5 ns 10 us 3 10 ns 7", True),
        ("0", "0.1", False),
        ("a", "a b", False),
        ("a b", "a", False),
    ],
)
def test_numbers_are_compared_loosely_and_words_exactly(shown: str, printed: str, alike: bool) -> None:
    assert (unlike(shown, printed) is None) == alike
