"""Reads the netlist of a cell, and lets through only what a cell is made of.

ngspice runs commands and reads and writes files where a netlist tells it to, and takes many spellings for the same (it
knows dot cards by their first letters). So nothing of a user's file reaches it as it stands: the text is taken apart
here, what a cell may contain is written anew in one plain form, and anything else is refused by name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gaincell.cell.cell import is_file
from gaincell.errors import InputError

#: Letters that begin an element of a cell: passives, sources, switches, transistors, subcircuits. Not A, N, P, U: code
#: models read files, and compiled ones are loaded.
_ELEMENTS = "bcdefghijklmqrsvwxz"
#: Types that a `.model` may have: ngspice's own devices, no code models.
_MODELS = (
    *("r", "res", "c", "cap", "l", "ind", "sw", "csw", "d", "npn", "pnp", "njf", "pjf", "nmf", "pmf"),
    *("nhfet", "phfet", "nmos", "pmos", "nsoi", "psoi", "vdmos", "vdmosn", "vdmosp"),
)
_INCLUDES = (".include", ".inc", ".lib")
_OPENERS = {".subckt": ".ends", ".if": ".endif"}
_CARDS = frozenset({".subckt", ".ends", ".model", ".param", ".func", ".if", ".elseif", ".else", ".endif"})
#: Cards that are done after so many further words.
_SHORT = {".ends": 1, ".else": 0, ".endif": 0}
_LEFT = "leave only .subckt, .model, .param, .func, .if, .include, .lib and elements"

# what is outside of comments, in lower case; without quotes that make strings, back-ticks, $, ;, \, @ and %
_PLAIN = re.compile(r"[a-z0-9 _.,=()+\-*/^{}':?<>!&|~#\[\]]*")
# what would name a file, in whatever device
_FILE = re.compile(r"\bfile\b|file *=")
_WORD = re.compile(r"[.*+]?[^\s(=,'\"{]*")
_MODEL = re.compile(r"\.model +[a-z0-9_.#\-]+ +([a-z]+)(?=[ (]|$)")
_INCLUDE = re.compile(r"""\.(?:include|inc|lib)\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))\s*([^\s"']*)\s*""", re.IGNORECASE)
# ngspice's comments at the end of a line
_COMMENT = re.compile(r"(?:(?:^|(?<=[ \t,]))\$|;|//).*", re.DOTALL)
# what ngspice's lines and C's strings may end at, other than a line's end
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

_VERILOG = (".va", ".vams", ".osdi")

#: All files together, in characters: SkyWater's whole library has a tenth of it.
_LIMIT = 1 << 27
_DEPTH, _FILES = 40, 10_000


@dataclass(frozen=True)
class Line:
    """One line of a netlist, those that continue it joined, without comments.

    Attributes:
        text: once it is checked, in lower case and with single spaces.
        path: the file that it stands in.
        number: where it begins there, from 1.
    """

    text: str
    path: Path
    number: int

    @property
    def where(self) -> str:
        """File and line, for messages."""
        return f"{self.path}, line {self.number}"


def read_netlist(path: Path) -> list[Line]:
    """The lines of a cell's netlist, its includes in their places; nothing but a cell's parts.

    `.include FILE` and `.lib FILE SECTION` are read here, relative to the folder of the file that they stand in, and
    looked into like the first.

    Args:
        path: the netlist.

    Raises:
        InputError: a file that cannot be read, or anything in one of them that is no part of a cell.
    """
    if path.suffix.lower() in _VERILOG:
        raise InputError(
            f"{path} is Verilog-A, which ngspice runs compiled only, and compiled code is not let in; simulate the "
            "cell where the model runs, and give the charges and decays to 'gaincell fit'."
        )
    lines = list(_Reader(path).lines(path, None, 0))
    open_cards: list[Line] = []
    for line in lines:
        _check(line, open_cards)
    if open_cards:
        card = _word(open_cards[-1].text)
        raise InputError(f"{open_cards[-1].where}: '{card}' has no '{_OPENERS[card]}'; add it.")
    return lines


class _Reader:
    def __init__(self, first: Path) -> None:
        self._first, self._characters, self._files = first, 0, 0
        self._kept: dict[Path, list[Line]] = {}

    def lines(self, path: Path, section: str | None, depth: int) -> Iterator[Line]:
        """The lines of a file, or of one section of a library, with includes in their places."""
        self._files += 1
        if depth > _DEPTH or self._files > _FILES:
            raise InputError(
                f"{self._first} includes too many files, or one that includes itself; put it into one file."
            )
        found = section is None
        inside, taking = False, found  # in a library's section; what was asked for
        for line in self._read(path):
            word = _word(line.text)
            file, asked = _included(line) if word in _INCLUDES else ("", None)
            if word == ".lib" and asked is None:  # a section begins; of two with one name ngspice takes the first
                if inside:
                    raise InputError(f"{line.where}: a section begins in another; end that with '.endl'.")
                inside, taking = True, not found and file.lower() == section
                found |= taking
            elif word == ".endl":
                if not inside:
                    raise InputError(f"{line.where}: '.endl' ends nothing; remove it.")
                inside, taking = False, section is None
            elif not taking:
                continue
            elif file:
                yield from self.lines(self._resolved(path.parent / file, line), asked, depth + 1)
            else:
                self._characters += len(line.text)
                if self._characters > _LIMIT:
                    raise InputError(
                        f"{self._first} with its includes is larger than {_LIMIT >> 20} MiB; make it smaller."
                    )
                yield Line(re.sub(r"\s+", " ", line.text).lower(), line.path, line.number)
        if not found:
            raise InputError(f"{path} has no section '{section}'; name one that it has.")
        if inside:
            raise InputError(f"{path}: a section has no '.endl'; add it (and include as .lib FILE SECTION).")

    def _resolved(self, file: Path, line: Line) -> Path:
        try:
            resolved = file.resolve()
        except (OSError, ValueError, RuntimeError):
            resolved = file
        if "\0" in str(file) or not is_file(resolved):
            raise InputError(
                f"{line.where} includes a file that cannot be read ('{file.name[:80]}'); give it by a path without ~ "
                "and variables."
            )
        return resolved

    def _read(self, path: Path) -> list[Line]:
        if path not in self._kept:
            try:
                with path.open("rb") as file:
                    content = file.read(_LIMIT + 1)
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}.") from None
            if len(content) > _LIMIT:
                raise InputError(f"{path} is larger than {_LIMIT >> 20} MiB; a netlist is smaller.")
            self._kept[path] = _logical(content.decode("latin-1"), path)
        return self._kept[path]


def _logical(text: str, path: Path) -> list[Line]:
    """The lines of a file's text, joined where `+` continues them."""
    lines: list[Line] = []
    # no splitlines: it ends lines at \x85, too
    for number, raw in enumerate(text.removeprefix("\xef\xbb\xbf").split("\n"), 1):
        where = f"{path}, line {number}"
        line = raw.removesuffix("\r")
        strange = _CONTROL.search(line)
        if strange:
            raise InputError(f"{where} holds the character {ord(strange[0])}; save the file as plain text.")
        line = line.strip(" \t")
        if line.startswith(("*", "$")):
            continue
        line = _COMMENT.sub("", line).strip(" \t")
        if not line:
            continue
        if not line.isascii():
            raise InputError(f"{where} holds a character that is not ASCII; write it in plain letters.")
        if line.startswith("+"):
            if not lines:
                raise InputError(f"{where} continues no line; remove its '+'.")
            lines[-1] = Line(f"{lines[-1].text} {line[1:].strip()}", path, lines[-1].number)
        else:
            lines.append(Line(line, path, number))
    return lines


def _word(text: str) -> str:
    """What a line begins with: its dot card, or its element."""
    found = _WORD.match(text)
    return found[0].lower() if found else ""


def _included(line: Line) -> tuple[str, str | None]:
    """File and section (None: all of it) of a line that includes, or a section's name and None."""
    found = _INCLUDE.fullmatch(line.text)
    name = next(filter(None, found.groups()[:3]), "") if found else ""
    more = found[4].lower() if found else ""
    library = _word(line.text) == ".lib"
    if not name or (more and not library):
        raise InputError(f"{line.where}: '{line.text[:60]}' includes no file; write .include \"FILE\".")
    return name, more or None


def _check(line: Line, open_cards: list[Line]) -> None:
    """Raise what a line holds that no cell has; `open_cards` are the blocks that it stands in."""
    text, word = line.text, _word(line.text)
    if word.startswith("."):
        follows = text[len(word) : len(word) + 1]
        if word not in _CARDS or follows not in ("", " ", "(" if word in (".if", ".elseif") else ""):
            raise InputError(f"{line.where} holds '{word[:40]}'; {_LEFT}.")
    elif text[0] not in _ELEMENTS:
        raise InputError(f"{line.where} begins with '{word[:40] or text[0]}', which is no element; {_LEFT}.")
    if word in _SHORT and text.count(" ") > _SHORT[word]:
        raise InputError(f"{line.where}: '{word}' is followed by more than belongs there; remove it.")
    plain = _PLAIN.match(text)
    if plain and plain.end() < len(text):
        raise InputError(f"{line.where} holds the character {text[plain.end()]}, which no cell needs; remove it.")
    if _FILE.search(text):
        raise InputError(f"{line.where}: '{text[:60]}' names a file; a cell reads none.")
    if word == ".model":
        model = _MODEL.match(text)
        if model is None or model[1] not in _MODELS:
            raise InputError(f"{line.where}: '{text[:60]}' is no model of a device that a cell may hold; remove it.")
    if word in _OPENERS:
        open_cards.append(line)
    elif word in _OPENERS.values():
        if not open_cards or _OPENERS[_word(open_cards[-1].text)] != word:
            raise InputError(f"{line.where}: '{word}' ends nothing; remove it.")
        open_cards.pop()
    elif not word.startswith(".") and all(_word(card.text) != ".subckt" for card in open_cards):
        raise InputError(f"{line.where}: '{word[:40]}' stands outside of a subcircuit; put it into a .subckt.")
