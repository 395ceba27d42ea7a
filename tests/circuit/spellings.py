"""Netlists that would run a command, or read or write a file, in many spellings; `tests/campaign` counts them, too."""

from pathlib import Path

HEADER = ".subckt mine store wwl wbl rwl rbl\nc1 store 0 8f\n"
FOOTER = ".ends\n"

#: What would leave a file MARK, where ngspice takes commands; the last one as it would be without a shell.
_COMMANDS = (
    "shell touch MARK",
    "shell /usr/bin/touch MARK",
    "SHELL touch MARK",
    "echo `touch MARK`",
    "echo made > MARK",
    "echo made >> MARK",
    "set x=`touch MARK`",
    "source evil.sp",
    "write MARK",
    "op\nwrdata MARK v(vdd)",
    "set unixcom\nrehash\ntouch MARK",
    "set appendwrite\nwrite MARK",
    "listing > MARK",
    "alias x shell touch MARK\nx",
    "define f(x) 1\nif 1\nshell touch MARK\nend",
    "set sourcepath = ( FOLDER )\nsource evil.sp",
    "load evil.sp",
    "codemodel evil.so",
    "osdi evil.so",
    "pre_osdi evil.so",
    "pre_codemodel evil.so",
    "edit evil.sp",
    "hardcopy MARK v(vdd)",
    "cd FOLDER\nshell touch MARK",
)
_OPENERS = (
    ".control",
    ".CONTROL",
    ".Control",
    ".controls",
    ".control2",
    ".control_",
    ".CONTROLX",
    ".controlling",
    ".control.",
    ".control-",
    ".control=",
    ".control(",
    ".control,",
    ".control;",
    ".control $ a comment",
    ".control // a comment",
    ".control\t",
    ".control\r",
    ".control\x0b",
    ".control\xa0",
    " .control",
    "\t.control",
    "\t \t.control",
    "\r.control",
    "\x0b.control",
    "\x0c.control",
    "\x00.control",
    "\xa0.control",
    "\xef\xbb\xbf.control",
    ".con\\\\\ntrol",
    ".con\n+trol",
    ".\n+control",
    "+.control",
    "+ .control",
    "* a comment\n+.control",
    "r1 a b 1\n+\n.control",
    "* a comment \\\\\n.control",
    "* a comment\r.control",
    ".title x\n.control",
    ".end\n.control",
    ".ends\n.control",
    ".if (1)\n.control\n.endif",
    "*ng_script\n.control",
    "*#\n.control",
)
_HIDDEN = tuple(
    f"{start}{command}"
    for start in ("*#", "*# ", "*#.control\n*#", "*ng_script\n", "*NG_SCRIPT\n", "#", "", "+", "+ ", "$", "!", "@", ".")
    for command in ("shell touch MARK", "echo `touch MARK`", "echo made > MARK")
)
_CARDS = (
    ".csparam x=`touch MARK`",
    ".param x=`touch MARK`",
    ".param x={`touch MARK`}",
    ".param x='shell touch MARK'",
    '.param x="`touch MARK`"',
    ".options x=`touch MARK`",
    ".options sourcepath=FOLDER",
    ".option unixcom",
    ".opt noacct=`touch MARK`",
    ".save `touch MARK`",
    ".save v(a) > MARK",
    ".print op v(a) > MARK",
    ".plot op v(a) > MARK",
    ".meas dc x param='1' > MARK",
    ".measure tran x find v(a) at=0 `touch MARK`",
    ".probe v(a)",
    ".four 1k v(a)",
    ".tran 1n 1u",
    ".op",
    ".title `touch MARK`",
    ".end",
    ".endc",
    ".temp 27",
    ".global vdd",
    ".ic v(store)=1",
    ".nodeset v(store)=1",
    ".hdl evil.va",
    ".verilog evil.va",
    ".pre_osdi evil.so",
    ".osdi evil.so",
    ".load evil.sp",
    ".source evil.sp",
    ".shell touch MARK",
    ".exec touch MARK",
    ".data x file='evil.sp'",
    ".macro x a b",
    ".modelx d d",
    ".model",
    ".models m d",
    ".paramx x=1",
    ".subcktx y a b",
    '.model m filesource (file="evil.sp")',
    ".model m filesource(file=evil.sp)",
    '.model m d_source (input_file="evil.sp")',
    '.model m d_state (state_file="evil.sp")',
    '.model m d_process (process_file="/usr/bin/touch" process_params=["MARK"])',
    '.model m d_cosim (simulation="evil.so")',
    '.model m table2d (file="evil.sp")',
    ".model m table3d (file=evil.sp)",
    ".model m file_source (file=evil.sp)",
    ".model m numos (file=evil.sp)",
    '.model m numd level=1 ic.file="evil.sp"',
    ".model m nbjt",
    ".model m ako:filesource",
    ".model m\n+ filesource (file=evil.sp)",
    ".model m nmos level=54 file=evil.sp",
    ".model m nmos level=54 file =evil.sp",
    ".model,m filesource file=evil.sp",
    ".model m,filesource file=evil.sp",
    ".model m=filesource file=evil.sp",
    ".model(m) filesource",
    ".model m 'filesource'",
    ".model m evil",
)
_ELEMENTS = (
    "a1 %v[a b] m\n.model m filesource (file=evil.sp)",
    "A1 [a] m\n.MODEL m d_source (input_file=evil.sp)",
    "a1 a b m",
    "n1 a b evil",
    "N1 a b evil",
    "u1 a b m",
    "p1 a b m",
    "o1 a b a b m",
    "y1 a b m",
    "t1 a 0 b 0 z0=50",
    "v1 a 0 pwl file=evil.sp",
    "v1 a 0 pwl file evil.sp",
    'v1 a 0 PWL FILE="evil.sp"',
    "v1 a 0 pwlfile=evil.sp",
    'v1 a 0 wavefile="evil.sp"',
    "b1 a 0 v=pwl(file='evil.sp')",
    "b1 a 0 v={`touch MARK`}",
    "b1 a 0 v='`touch MARK`'",
    'e1 a 0 table file="evil.sp"',
    "e1 a 0 b 0 `touch MARK`",
    "r1 a b `touch MARK`",
    "r1 a b {`touch MARK`}",
    "r1 a b $(touch MARK)",
    "r1 a b 1 > MARK",
    "r1 a b 1k; shell touch MARK\n.control\nshell touch MARK",
    'x1 a b "evil.sp"',
    "x1 a b c:\\evil.sp",
    "x1 a b @evil",
    "r\xe9 a b 1",
    "r1 a\xa0b 1",
    "r1 a b 1\x85.control\nshell touch MARK",
    "r1 a b 1\u2028.control\nshell touch MARK",
    "\uff0econtrol\nshell touch MARK",
    "1r a b 1",
    "_r a b 1",
    "write MARK\x00",
)
_INCLUDE = (".include", ".incl", ".includes", ".inclu", ".INCLUDE", ".inc", ".INC", ".incx", "+.include", " .include")
_FILE = (" F.sp", ' "F.sp"', "=F.sp", "(F.sp)", " F.sp ; x", " ~/F.sp", " ./F.sp", "\tF.sp")
_LIB = (".lib", ".LIB", ".libs", ".library", ".lib_", " .lib")
_SECTION = (" F.lib tt", ' "F.lib" tt', "=F.lib tt", "(F.lib) tt", " 'F.lib' TT", " F.sp", "\tF.lib tt")
#: `evil.sp` is a netlist with a control section, and refused when it was looked into.
_READS = tuple(
    f"{card}{file.replace('F', 'evil')}"
    for cards, files in ((_INCLUDE, _FILE), (_LIB, _SECTION))
    for card in cards
    for file in files
)


def _with(text: str, place: str) -> str:
    parts = {
        "before": f"{text}\n{HEADER}{FOOTER}",
        "inside": f"{HEADER}{text}\n{FOOTER}",
        "behind": f"{HEADER}{FOOTER}{text}\n",
    }
    return parts[place]


def spellings() -> list[str]:
    """All of them, each a whole netlist; `MARK` and `FOLDER` stand for absolute paths."""
    bodies = [f"{opener}\nshell touch MARK\n.endc" for opener in _OPENERS]
    bodies += [f".control\n{command}\n.endc" for command in _COMMANDS]
    bodies += [*_HIDDEN, *_CARDS, *_ELEMENTS, *_READS]
    netlists = [_with(body, place) for body in bodies for place in ("before", "inside", "behind")]
    for opener in (".control", ".controls"):  # a file as a whole in another spelling
        plain = f"* t\n{HEADER}{FOOTER}{opener}\nshell touch MARK\n.endc\n"
        netlists += [plain.replace("\n", end) for end in ("\r\n", "\r", "\n\r", "\v", "\f", "\x85", "\x00\n")]
        netlists += ["\ufeff" + plain, plain.replace("\n.", "\n\ufeff."), "\0".join(plain), plain.upper()]
    return list(dict.fromkeys(netlists))


def prepare(folder: Path) -> Path:
    """The files that the spellings name, in a folder. The path that each of them would leave a file at."""
    mark = folder / "MARK"
    evil = f".control\nshell touch {mark}\n.endc\n"
    (folder / "evil.sp").write_text(evil)
    (folder / "evil.lib").write_text(f".lib tt\n{evil}.endl tt\n")
    (folder / "evil.so").write_bytes(b"\x7fELF")
    return mark


def written(netlist: str, folder: Path) -> bytes:
    """A spelling as the bytes of a file in `folder`."""
    text = netlist.replace("MARK", str(folder / "MARK")).replace("FOLDER", str(folder))
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8")
