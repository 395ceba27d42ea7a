"""The code blocks of a page of documentation, as examples that Sybil finds and runs.

Blocks of `python` share the page's namespace, blocks of `bash` run in the page's folder, and each may be followed by a
block of `output`: what it prints. A block with a title, ```yaml title="cell.yaml", is a file in that folder, there from
the start. A comment on the line above says what keeps a block from running in continuous integration,
<!-- not run: an hour of training -->, or what it needs besides, <!-- needs: ngspice -->.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator, pad
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from gaincell.cli.app import app

ROOT = Path(__file__).parents[2]

RUN = ("python", "bash")

FENCES = RawFencedCodeBlockLexer(re.compile(r'(?P<language>[\w-]*)(?: title="(?P<title>[^"]+)")?(?P<rest>[^\n]*)\n'))
MARKER = re.compile(r"^[ \t]*<!--[ \t]*(not run|needs)\b:?[ \t]*(.*?)[ \t]*-->\n", re.MULTILINE)

#: A number printed on another machine may differ by this part of it: sums in another order move a few read-out codes,
#: and a perplexity by less than one in a hundred.
TOLERANCE = 0.02
NUMBER = r"[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?"
WORDS = re.compile(rf"\.\.\.|{NUMBER}|[^\W\d]+|\S")


def pages() -> list[Path]:
    """Every page with blocks to run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def parse(path: Path) -> Document:
    """The page; its examples are the blocks to run, or to leave out with a reason, and what they print.

    Raises:
        ValueError: a block that nothing would run or check, or a marker without its reason or its block.
    """
    return Sybil([_blocks]).parse(path)


def files(document: Document) -> dict[str, str]:
    """The page's blocks that are files, by name."""
    return {fence.lexemes["title"]: fence.lexemes["source"] for fence in FENCES(document) if fence.lexemes["title"]}


def _blocks(document: Document) -> Iterable[Region]:
    markers = {marker.end(): marker for marker in MARKER.finditer(document.text)}
    fences = sorted(FENCES(document), key=lambda fence: fence.start)
    previous = ""
    for fence in fences:
        language, title, source, rest = (fence.lexemes[name] for name in ("language", "title", "source", "rest"))
        where = f"{document.path}, {document.line_column(fence.start)}"
        if rest.strip():
            raise ValueError(f'{where}: {rest.strip()!r} is not understood; write ```{language} title="name".')
        if title:
            name = title.split("/")[0]  # commands are given a folder as such
            if not any(name in other.lexemes["source"] for other in fences if _is_read(other) and other is not fence):
                raise ValueError(f"{where}: no other block of the page uses the file {title}.")
        elif language in RUN:
            evaluator = _evaluator(language, markers.pop(fence.start, None), where)
            yield Region(fence.start, fence.end, parsed=source, evaluator=evaluator)
        elif language == "output":
            if previous not in RUN:
                raise ValueError(f"{where}: output has to follow the block that prints it.")
            yield Region(fence.start, fence.end, parsed=source, evaluator=_check_output)
        elif language != "text":
            raise ValueError(
                f"{where}: a block of {language or 'no language'} would not be checked; make it {' or '.join(RUN)}, "
                'give it a title="name" that another block reads, or make it text.'
            )
        previous = "" if title else language
    for marker in markers.values():
        raise ValueError(
            f"{document.path}, {document.line_column(marker.start())}: no block to run follows this marker."
        )


def _is_read(fence: Region) -> bool:
    return bool(fence.lexemes["title"]) or fence.lexemes["language"] in RUN


def _evaluator(language: str, marker: re.Match[str] | None, where: str) -> Any:
    run = _run_python if language == "python" else _run_bash
    if marker is None:
        return run
    kind, argument = marker.groups()
    if not argument:
        raise ValueError(f"{where}: say why this block is not run, as in <!-- not run: an hour of training -->.")

    def leave_out(example: Example) -> None:
        if kind == "needs" and all(shutil.which(program) for program in argument.split()):
            return run(example)
        check_python(example) if language == "python" else check_command_lines(example.parsed)
        example.namespace["_printed"] = None
        reason = f"needs {argument}" if kind == "needs" else argument
        pytest.skip(f"{Path(example.path).relative_to(ROOT)}:{example.line} not run: {reason}")

    return leave_out


def _run_python(example: Example) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        PythonEvaluator()(example)
    example.namespace["_printed"] = printed.getvalue()


def _run_bash(example: Example) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", "-euo", "pipefail", "-c", example.parsed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    example.namespace["_printed"] = done.stdout


def _check_output(example: Example) -> str | None:
    printed = example.namespace["_printed"]
    if printed is None:
        pytest.skip(f"{Path(example.path).relative_to(ROOT)}:{example.line} not checked: its block was not run")
    difference = unlike(example.parsed, printed)
    return difference and f"{difference}\n--- printed:\n{printed}"


def unlike(shown: str, printed: str) -> str | None:
    """What sets the output that a page shows apart from what was printed, in a sentence, or None.

    Blanks do not count, `...` stands for anything, and numbers may differ by `TOLERANCE`.
    """
    found = WORDS.findall(printed)
    reached = {0}  # how many of the printed words the page may have come to
    for word in WORDS.findall(shown):
        if word == "...":
            reached = set(range(min(reached), len(found) + 1))
            continue
        further = {index + 1 for index in reached if index < len(found) and _alike(word, found[index])}
        if not further:
            return f"the page shows {word}, and {' '.join(found[max(reached) :][:1]) or 'nothing more'} was printed"
        reached = further
    return None if len(found) in reached else "more was printed than the page shows"


def _alike(shown: str, printed: str) -> bool:
    if not (re.fullmatch(NUMBER, shown) and re.fullmatch(NUMBER, printed)):
        return shown == printed
    expected, actual = (float(number.replace(",", "")) for number in (shown, printed))
    return abs(actual - expected) <= TOLERANCE * abs(expected)


def check_python(example: Example) -> None:
    """Refuse a block that is no Python, without running it."""
    compile(pad(example.parsed, example.line), example.path, "exec")


def check_command_lines(script: str) -> None:
    """Refuse a script that bash cannot read, or that uses a command or an option which gaincell does not have."""
    subprocess.run(["bash", "-n", "-c", script], check=True)
    for words in command_lines(script):
        command: Any = typer.main.get_command(app)
        context = command.context_class(command, info_name="gaincell")
        rest = words
        while rest:  # a group leaves the words from the command's name on, which leaves its arguments
            _, rest, _ = command.make_parser(context).parse_args(list(rest))
            if not rest or not hasattr(command, "resolve_command"):
                break
            name, command, rest = command.resolve_command(context, rest)
            context = command.context_class(command, info_name=name, parent=context)


def command_lines(script: str) -> Iterator[list[str]]:
    """The words behind `gaincell`, for every time that a script runs it."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] | None = None
        for word in [*lexer, ";"]:
            if re.fullmatch("[();<>|&]+", word):
                if words is not None:
                    yield words
                words = None
            elif words is not None:
                words.append(word)
            elif word in ("gaincell", "gaincell.cli"):
                words = []
