"""How documents are cut from a file, by kind of file."""

import ast
import csv
import inspect
import io
import json
import re
import warnings
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

from gaincell.adapt.text.mixture import Source
from gaincell.errors import InputError

#: Elements of HTML, DocBook and Mallard pages whose text is none of the page's own.
_SILENT = {
    "script",
    "style",
    "nav",
    "header",
    "footer",
    "head",
    "svg",
    "button",
    "form",
    "noscript",
    "info",
    "template",
}
#: Classes and roles of other elements that are none, as DocBook's stylesheets and others name them.
_MENUS = {"toc", "navheader", "navfooter", "navigation", "contentinfo", "breadcrumb", "sidebar", "menu"}
#: Elements that begin a paragraph, those that begin a line, and those that break it.
_BLOCKS = {"p", "div", "section", "article", "ul", "ol", "dl", "table", "pre", "blockquote", "h1", "h2", "h3", "h4",
           "h5", "h6", "title", "page", "list", "steps", "note", "screen", "code-block", "figure", "body"}  # fmt: skip
_LINES = {"li", "tr", "dt", "dd", "br", "item", "hr"}
_AS_IS = {"pre", "screen"}
#: Elements that HTML never closes.
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def documents(source: Source, name: str, data: bytes) -> Iterator[str]:
    """The documents in one file of a source; a file that is not what it should be has none.

    Python is parsed, never imported or run.

    Raises:
        InputError: of the readers json, csv and chat: the file is none such, or has not the fields.
    """
    text = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\x00", "")
    read: Callable[[Source, str, str], Iterator[str]] = _READERS[source.reader]
    return read(source, name, text)


def html_text(page: str) -> str:
    """The text of an HTML or XML page: a paragraph or line for each element that begins one."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    return parser.text()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        #: Elements that are open, each with whether its text counts not, and whether its line breaks count.
        self.open: list[tuple[str, bool, bool]] = [("", False, False)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)
        if tag not in _VOID:
            _, silent, as_is = self.open[-1]
            names = {name for key, value in attrs if key in ("class", "role") and value for name in value.split()}
            self.open.append((tag, silent or tag in _SILENT or bool(names & _MENUS), as_is or tag in _AS_IS))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._break(tag)  # <nav/> opens nothing

    def handle_endtag(self, tag: str) -> None:
        self._break(tag)
        places = [place for place, (name, _, _) in enumerate(self.open) if place and name == tag]
        if places:  # what was left open in it ends with it
            del self.open[places[-1] :]

    def handle_data(self, data: str) -> None:
        _, silent, as_is = self.open[-1]
        if not silent:
            self.parts.append(data if as_is else re.sub(r"\s+", " ", data))

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n\n")
        elif tag in _LINES:
            self.parts.append("\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def text(self) -> str:
        lines = (line.rstrip() if line.startswith("  ") else line.strip() for line in "".join(self.parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _whole(source: Source, name: str, text: str) -> Iterator[str]:
    yield text


def _html(source: Source, name: str, text: str) -> Iterator[str]:
    yield html_text(text)


def _json(source: Source, name: str, text: str) -> Iterator[str]:
    for record in _records(source, name, text):
        yield "\n\n".join(part for field in source.fields if (part := _joined(record.get(field))))


def _csv(source: Source, name: str, text: str) -> Iterator[str]:
    rows = csv.DictReader(io.StringIO(text))
    _check_fields(source, name, rows.fieldnames or ())
    try:
        for row in rows:
            yield "\n\n".join(part for field in source.fields if (part := _joined(row.get(field))))
    except csv.Error as error:
        raise InputError(f"source '{source.name}': {name} is no CSV that can be read ({error}).") from None


def _chat(source: Source, name: str, text: str) -> Iterator[str]:
    """Conversations: turns of one message each, or of several that one sender wrote in a row; speakers are A, B, ..."""
    for record in _records(source, name, text):
        letters: dict[str, str] = {}
        lines = []
        for turn in record.get(source.fields[0]) or ():
            messages = [
                message for message in (turn if isinstance(turn, list) else [turn]) if isinstance(message, dict)
            ]
            said = " ".join(str(message.get("text") or message.get("content") or "").strip() for message in messages)
            if said.strip():
                sender = str(messages[0].get("sender") or messages[0].get("role") or "")
                speaker = letters.setdefault(sender, chr(ord("A") + len(letters) % 26))
                lines.append(f"{speaker}: {' '.join(said.split())}")
        yield "\n".join(lines)


def _docstrings(source: Source, name: str, text: str) -> Iterator[str]:
    tree = _parsed(text)
    if tree is None:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(node, clean=True)
            if words:
                yield words


def _source(source: Source, name: str, text: str) -> Iterator[str]:
    if not name.endswith(".py") or _parsed(text) is not None:
        yield text.expandtabs(4)


def _parsed(text: str) -> ast.Module | None:
    """Python's syntax tree; None of what this Python cannot parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in somebody else's strings
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _records(source: Source, name: str, text: str) -> list[dict[str, Any]]:
    """The records of a JSON file: of a list, of a mapping's values, or one a line."""
    try:
        try:
            data = json.loads(text)
        except ValueError:
            data = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise InputError(f"source '{source.name}': {name} is not valid JSON ({error}).") from None
    values = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    records = [value for value in values if isinstance(value, dict)]
    _check_fields(source, name, {key for record in records for key in record})
    return records


def _check_fields(source: Source, name: str, known: Any) -> None:
    missing = [field for field in source.fields if field not in known]
    if missing:
        raise InputError(f"source '{source.name}': records of {name} have no field '{missing[0]}'; check its fields.")


def _joined(value: Any) -> str:
    """A field's text: of a list, a line for each entry."""
    if isinstance(value, list):
        return "\n".join(line for entry in value if (line := _joined(entry)))
    return inspect.cleandoc(str(value)) if value is not None else ""


_READERS: dict[str, Callable[[Source, str, str], Iterator[str]]] = {
    "text": _whole,
    "html": _html,
    "json": _json,
    "csv": _csv,
    "chat": _chat,
    "docstrings": _docstrings,
    "source": _source,
}
