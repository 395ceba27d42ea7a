"""A user's netlist can run nothing and reach no file: what is read of it, and what ngspice may do besides."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spellings import FOOTER, HEADER, prepare, spellings, written

from gaincell.circuit import CircuitError, Deck, Ngspice, NoData
from gaincell.circuit.decks.cell import cell_from_netlist
from gaincell.circuit.netlist import read_netlist
from gaincell.circuit.sandbox import is_confined
from gaincell.errors import InputError

ALLOWED = (".subckt", ".ends", ".model", ".param", ".func", ".if", ".elseif", ".else", ".endif")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name has no capitals, as ngspice makes a netlist's words small."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def harmless(text: str) -> bool:
    """Whether each line is an allowed dot card or an element, with no character that ngspice treats as a command."""
    lines = text.splitlines()
    cards = all(line.split("(")[0].split()[0] in ALLOWED for line in lines if line.startswith("."))
    elements = all(line[0] in "bcdefghijklmqrsvwxz" for line in lines if not line.startswith("."))
    return cards and elements and text.isascii() and text == text.lower() and not set('`"$;\\@%') & set(text)


def test_no_spelling_of_a_command_or_a_file_gets_through(folder: Path) -> None:
    prepare(folder)
    path = folder / "mine.cir"
    refused = 0
    for spelling in spellings():
        path.write_bytes(written(spelling, folder))
        try:
            text = cell_from_netlist(path).text
        except InputError:
            refused += 1
            continue
        assert harmless(text), spelling
        assert "control" not in text, spelling
    assert refused > 900  # the others are comments, continued headers and expressions


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (".controls", "line 3 holds '.controls'"),
        (".incl evil.sp", "holds '.incl'"),
        (".option unixcom", "holds '.option'"),
        ("a1 a b m", "begins with 'a1', which is no element"),
        ("r1 a b `touch x`", "the character `"),
        (".model m filesource", "no model of a device"),
        ("v1 a 0 pwl file=x", "names a file"),
        ("r1 a b\x0b1", "the character 11"),
        (".ends\n.ends", "'.ends' ends nothing"),
        (".if (1)", "'.ends' ends nothing"),
        (".subckt x a", "'.subckt' has no '.ends'"),
        (".lib mine.cir tt", "has no section 'tt'"),
        (".include mine.cir", "includes itself"),
    ],
)
def test_what_is_refused_is_named(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.cir").write_text(f"{HEADER}{line}\n{FOOTER}", newline="")
    with pytest.raises(InputError, match=words):
        read_netlist(tmp_path / "mine.cir")


def test_a_library_gives_the_section_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "n.inc").write_text(".MODEL N nmos (level=54\n* in between\n+ vth0 = 0.4) $ a card\n")
    (tmp_path / "sub" / "all.lib").write_text(
        ".lib ff\n.control\n.endc\n.endl ff\nr1 a b 1\n.lib TT\n.include 'n.inc' ; relative to this file\n.endl\n"
    )
    (tmp_path / "mine.cir").write_bytes(
        b'\xef\xbb\xbf* \xb5m\r\n.lib "sub/all.lib" tt\r\n.SUBCKT Mine store // pins\r\n+ wwl wbl rwl rbl\r\n.ENDS\r\n'
    )
    cell = cell_from_netlist(tmp_path / "mine.cir")
    assert cell.text == ".model n nmos (level=54 vth0 = 0.4)\n.subckt mine store wwl wbl rwl rbl\n.ends\n"
    assert cell.subcircuit == "mine"


def test_the_cell_is_the_last_subcircuit_of_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "other.inc").write_text(".subckt other a\n.ends\n")
    (tmp_path / "mine.cir").write_text(f"{HEADER}{FOOTER}.include other.inc\n")
    assert cell_from_netlist(tmp_path / "mine.cir").subcircuit == "mine"


PIECES = st.sampled_from(
    [
        *(
            ".",
            "+",
            "*",
            "#",
            "\n",
            "\r",
            " ",
            "control",
            "shell x",
            "include",
            "inc",
            "lib",
            "m ",
            "`",
            "$",
            ";",
            "//",
        ),
        *(".subckt a b\n", ".ends\n", ".model ", "nmos", "filesource", "r1 a b 1\n", "\\\\\n", "'", "{", "}", "("),
        *("\t", "\v", '"', "file=", "a1", "\xe9", "\x85"),
    ]
)


@given(text=st.lists(PIECES, max_size=20).map("".join))
def test_whatever_is_read_is_harmless_and_reads_back_the_same(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.cir"
    path.write_text(text, "utf-8", newline="")
    try:
        read = "".join(f"{line.text}\n" for line in read_netlist(path))
    except InputError:
        return
    assert harmless(read)
    path.write_text(read)
    assert "".join(f"{line.text}\n" for line in read_netlist(path)) == read


COMMANDS = [
    "shell touch {mark}",
    "shell /usr/bin/touch {mark}",
    "echo `/usr/bin/touch {mark}`",
    "echo made > {mark}",
    "write {mark}",
    "source {folder}/evil.sp",
]


needs_landlock = pytest.mark.skipif(not is_confined(), reason="this system has no Landlock (Linux 5.13)")


@needs_landlock
@pytest.mark.parametrize("command", COMMANDS)
def test_ngspice_itself_can_start_and_write_nothing_outside(command: str, ngspice: Ngspice, folder: Path) -> None:
    mark = prepare(folder)
    line = command.format(mark=mark, folder=folder)
    deck = Deck(f"* t\nv1 a 0 1\nr1 a 0 1k\n.op\n.control\nop\n{line}\n.endc\n", ("v(a)",))
    with suppress(CircuitError):
        ngspice.run(deck)
    assert not mark.exists()


@needs_landlock
def test_ngspice_reads_what_a_deck_includes_and_nothing_else(ngspice: Ngspice) -> None:
    part = Path(__file__).with_name("resistor.inc")
    if part.is_relative_to("/tmp"):
        pytest.skip("what is in /tmp can be read")
    deck = Deck(f'* t\nv1 a 0 1\n.include "{part}"\n.op\n', ("i(v1)",))
    assert ngspice.run(deck)[0]["i(v1)"][0] == pytest.approx(-0.5e-3)
    with pytest.raises(CircuitError, match=r"\.include statement failed"):
        ngspice.run(Deck(deck.text.replace(".include", ".includes"), deck.signals))


def test_ngspice_is_told_nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPICE_SCRIPTS", str(tmp_path))
    monkeypatch.setenv("SECRET", "word")
    fake = tmp_path / "ngspice"
    fake.write_text('#!/bin/sh\necho "error: ${SECRET-none} ${SPICE_SCRIPTS-none} $HOME $PATH $SHELL $PWD"\nexit 1\n')
    fake.chmod(0o755)
    with pytest.raises(NoData) as caught:
        Ngspice(program=str(fake), cache=None).run(Deck("* t\n", ()))
    secret, scripts, home, path, shell, here = caught.value.log.removeprefix("error: ").split()
    assert (secret, scripts, path, shell) == ("none", "none", "/dev/null", "/dev/null")
    assert home == here
    assert not Path(here).exists()
