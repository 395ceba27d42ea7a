"""Starts a program that may run nothing else and touch no file outside of its folder, where the system can see to that.

Linux's Landlock (kernel 5.13 and later; https://docs.kernel.org/userspace-api/landlock.html) takes rights away from the
thread that asks for it, and from what that thread starts. So a thread is made for every start, and ends with it.
"""

import ctypes
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from stat import S_ISDIR

# numbers of system calls, the same on all architectures, and of prctl
_CREATE, _ADD_RULE, _RESTRICT, _NO_NEW_PRIVS = 444, 445, 446, 38
# rights on files: run, write, read, list, cut short, device control; what a file can have, and a folder besides
_RUN, _WRITE, _READ, _LIST, _CUT, _DEVICE = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_OF_FILES = _RUN | _WRITE | _READ | _CUT | _DEVICE
_RIGHTS = (0, 13, 14, 15, 15, 16)  # how many rights on files each version of Landlock knows, up to the fifth
_NETWORK = _SCOPES = 0b11  # TCP, since version 4; sockets and signals of other processes, since version 6

#: Where programs and their libraries are installed.
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt", "/nix", "/gnu", "/snap", "/etc/ld.so.cache")
#: What ngspice and its libraries ask of the machine.
_MACHINE = ("/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/sys/devices/system/cpu", "/etc/localtime")
#: Devices that keep nothing.
_SINKS = ("/dev/null", "/dev/zero", "/dev/full")
#: glibc's tmpfile, which ngspice needs, opens a file without a name here. What others keep there can be read and
#: written over, but not made, removed, cut short or run.
_UNNAMED = "/tmp"
_INTERPRETER = re.compile(rb"\0(/[^\0]{1,200}/ld[^\0/]{1,60}\.so[^\0/]{0,20})\0")


def is_confined() -> bool:
    """Whether programs that `start` starts are confined on this machine."""
    return _version() > 0


def start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], readable: Iterable[Path] = ()
) -> "subprocess.Popen[bytes]":
    """Start a program in its folder, with nothing on its standard input, and output and errors in one pipe.

    Where Landlock is there (`is_confined`), the program can start no other program, unless it is a script; write
    nothing outside of its folder but over what is in `/tmp`; read nothing but these, what is installed on the system
    and beside the program, and `readable`; and open no network connection. Elsewhere it is started as it is.

    Args:
        command: the program's path, and its arguments.
        folder: where it runs, and what it may write to.
        environment: all of it.
        readable: further files that it may read.
    """

    def begin() -> "subprocess.Popen[bytes]":
        if is_confined():
            _restrict(_rules(Path(command[0]), folder, environment, readable))
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(begin).result()


def _rules(
    program: Path, folder: Path, environment: Mapping[str, str], readable: Iterable[Path]
) -> list[tuple[str, int]]:
    """Paths, and what may be done with them and all in them."""
    program = program.resolve()
    with program.open("rb") as file:
        head = file.read(1 << 16)
    is_script, interpreter = head.startswith(b"#!"), _INTERPRETER.search(head)
    own = [program.parent, *(program.parents[1] / name for name in ("lib", "lib64", "share"))]
    libraries = [path for path in environment.get("LD_LIBRARY_PATH", "").split(":") if path]
    see = _READ | _LIST | (_RUN if is_script else 0)  # a script is nothing without the programs that it calls
    run = [str(program)] + ([os.fsdecode(interpreter[1])] if interpreter else [])
    return [
        *((str(path), see) for path in (*_SYSTEM, *own, *libraries)),
        *((path, _READ | _LIST) for path in _MACHINE),
        *((str(path), _READ) for path in readable),
        *((path, _READ | _WRITE | _CUT) for path in _SINKS),
        (_UNNAMED, _READ | _WRITE),
        *((path, _READ | _RUN) for path in run),
        (str(folder), ~_RUN),
    ]


class _Asked(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("path", ctypes.c_int32))


def _restrict(rules: Iterable[tuple[str, int]]) -> None:
    """Leave this thread nothing but these rights, for good."""
    version = _version()
    known = (1 << _RIGHTS[min(version, 5)]) - 1
    asked = _Asked(known, _NETWORK if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE, ctypes.byref(asked), size, 0)
    try:
        for path, rights in rules:
            try:
                opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue  # not on this machine
            try:
                rights &= known if S_ISDIR(os.fstat(opened).st_mode) else known & _OF_FILES
                _call(_ADD_RULE, ruleset, 1, ctypes.byref(_Rule(rights, opened)), 0)
            finally:
                os.close(opened)
        if _c().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


@lru_cache
def _version() -> int:
    """Of Landlock; 0 without it, and with another C library than glibc, whose files without a name are elsewhere."""
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return 0
    try:
        return _call(_CREATE, None, 0, 1)
    except OSError:
        return 0


@lru_cache
def _c() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = _c().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
