"""Runs ngspice as a subprocess: a fresh folder per run, results kept by content, what fails told by type."""

import errno
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import platformdirs

from gaincell.circuit.cache import LIMIT_BYTES, Cache, content_key, included_files
from gaincell.circuit.errors import (
    NoData,
    NotConverged,
    NotInstalled,
    StoppedEarly,
    TimedOut,
    UnknownSignal,
)
from gaincell.circuit.rawfile import Plot, read_raw
from gaincell.circuit.sandbox import start

HOW_TO_INSTALL = "Debian, Ubuntu: apt-get install ngspice; macOS: brew install ngspice"

# -n: no start-up file of the user's, which could change results
_OPTIONS = ("-n", "-b")
_NOT_CONVERGED = re.compile(r"timestep too small|no convergence|singular matrix|iteration limit", re.IGNORECASE)
_TAIL_LINES = 6
_TELLS = re.compile(r"error|warning|failed|doanalyses|unknown|undefined|cannot|could not", re.IGNORECASE)
_LINE_LENGTH = 200


@dataclass(frozen=True)
class Deck:
    """A netlist with its analyses, and what to save of them.

    Attributes:
        text: the netlist from its title line on, without .save and .end.
        signals: names of what to save, such as "v(out)" and "i(v1)"; each must be in the results.
        end_s: time in s that a transient analysis must reach; None where there is none.
    """

    text: str
    signals: tuple[str, ...]
    end_s: float | None = None

    @property
    def netlist(self) -> str:
        """The whole text as ngspice gets it."""
        lines = [".save " + " ".join(self.signals[i : i + 20]) for i in range(0, len(self.signals), 20)]
        return "\n".join([self.text.rstrip("\n"), *lines, ".end", ""])


@dataclass(frozen=True)
class Ngspice:
    """How to run ngspice.

    Attributes:
        program: its name or path.
        limit_s: wall-clock limit of one run, in s.
        at_once: how many runs at the same time.
        cache: folder of kept results; None keeps nothing. The user's cache folder by default.
        cache_bytes: what that folder may take; the least recently used results go first.
    """

    program: str = "ngspice"
    limit_s: float = 120.0
    at_once: int = 2
    cache: Path | None = field(default_factory=lambda: platformdirs.user_cache_path("gaincell") / "ngspice")
    cache_bytes: int = LIMIT_BYTES

    def run(self, deck: Deck) -> list[Plot]:
        """The plots of a deck's analyses, in ngspice's order.

        Raises:
            NotInstalled: there is no such program.
            NotConverged: the solver gave up.
            NoData: the netlist was refused, or has no analysis.
            StoppedEarly: killed, or the results end before `deck.end_s`.
            UnknownSignal: one of `deck.signals` is not in the circuit.
            TimedOut: `limit_s` was over.
            OSError: the disk is full.
        """
        path = shutil.which(self.program)
        if path is None:
            raise NotInstalled(f"'{self.program}' is not installed; install it ({HOW_TO_INSTALL}).")
        path = os.path.abspath(path)  # it runs in another folder
        files, complete = included_files(deck.netlist, Path.cwd())
        version = _version(path, os.stat(path).st_mtime_ns)
        key = content_key((deck.netlist, *files.values()), version, _OPTIONS) if complete else None
        cache = Cache(self.cache, self.cache_bytes) if self.cache is not None and key is not None else None
        if cache is not None and key is not None:
            kept = cache.load(key)
            if kept is not None:
                return kept
        plots = self._simulate(path, deck, files)
        if cache is not None and key is not None:
            cache.store(key, plots)
        return plots

    def run_all(self, decks: Sequence[Deck]) -> list[list[Plot]]:
        """`run` of each deck, `at_once` at a time; the first failure is raised, and what has not begun is dropped."""
        with ThreadPoolExecutor(self.at_once) as pool:
            runs = [pool.submit(self.run, deck) for deck in decks]
            try:
                return [run.result() for run in runs]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _simulate(self, path: str, deck: Deck, readable: Iterable[Path]) -> list[Plot]:
        with tempfile.TemporaryDirectory(prefix="gaincell-ngspice-") as name:
            folder = Path(name)
            (folder / "deck.cir").write_text(deck.netlist, "utf-8")
            command = [path, *_OPTIONS, "-r", "out.raw", "deck.cir"]
            # the log comes through a pipe: on a full disk it could not be written
            with start(command, folder, _environment(folder), readable) as running:
                try:
                    output, _ = running.communicate(timeout=self.limit_s)
                except subprocess.TimeoutExpired:
                    running.kill()
                    log = _tail(running.communicate()[0].decode("latin-1"))
                    raise TimedOut(f"ngspice took longer than {self.limit_s:g} s.", log) from None
                except BaseException:
                    running.kill()
                    raise
            log = _tail(output.decode("latin-1"))
            _check_end(running.returncode, log)
            plots = read_raw(folder / "out.raw")
            _check_plots(plots, deck, log)
            return plots


def _check_end(code: int, log: str) -> None:
    """Raise what a run's exit code and messages say."""
    if code < 0:
        raise StoppedEarly(f"ngspice was ended by {signal.Signals(-code).name}.", log)
    if "rawfile write error" in log:  # and exit code 0
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tempfile.gettempdir())
    if code == 0:
        return
    if "no data saved" in log:
        raise UnknownSignal("none of the signals asked for is in the circuit.", log)
    if _NOT_CONVERGED.search(log):
        raise NotConverged("the circuit did not converge.", log)
    raise NoData("ngspice refused the netlist.", log)


def _check_plots(plots: list[Plot], deck: Deck, log: str) -> None:
    """Some failures end with exit code 0: a saved name that does not exist, results that end early."""
    found = {name for plot in plots for name in plot.signals}
    missing = [name for name in deck.signals if name.lower() not in found]
    if missing:
        raise UnknownSignal(f"the circuit has no signal {', '.join(missing)}.", log)
    if deck.end_s is None:
        return
    reached = [plot.axis[-1] for plot in plots if "time" in plot.signals]
    if not reached or min(reached) < deck.end_s * (1 - 1e-6):
        raise StoppedEarly(f"the simulation ended at {min(reached, default=0):g} s of {deck.end_s:g} s.", log)


def _tail(log: str) -> str:
    """The last lines that tell what went wrong."""
    lines = dict.fromkeys(line.strip()[:_LINE_LENGTH] for line in log.splitlines() if _TELLS.search(line))
    return "\n".join(list(lines)[-_TAIL_LINES:])


def _environment(folder: Path) -> dict[str, str]:
    """All that ngspice gets of it: nothing of the user's but where libraries are, and no program to find."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    nowhere = {"PATH": "/dev/null", "SHELL": "/dev/null", "HOME": str(folder), "TMPDIR": str(folder)}
    # One thread: ngspice's OpenMP threads spin, and cost many times what they save on circuits of this size. It heeds
    # OMP_THREAD_LIMIT, not OMP_NUM_THREADS.
    fixed = {"OMP_THREAD_LIMIT": "1", "OMP_WAIT_POLICY": "passive", "SPICE_ASCIIRAWFILE": "0", "LC_ALL": "C"}
    return kept | nowhere | fixed


@lru_cache
def _version(path: str, changed_ns: int) -> str:
    """What the program says of itself; `changed_ns` has it asked again once it was replaced."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"'{path}' cannot be run ({error}); install ngspice ({HOW_TO_INSTALL}).") from None
