"""Processes for tests that kill one and go on: forked by a server that has imported what takes Python seconds."""

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

_SERVED = multiprocessing.get_context("forkserver")
_SERVED.set_forkserver_preload(["gaincell.adapt", "gaincell.models", "gaincell.evaluate", "transformers.models.llama"])

#: What `gaincell` does, as a program for `start`.
COMMAND = "from gaincell.cli import main; main()"


def start(
    code: str, *arguments: str, environment: dict[str, str] | None = None, stdout: Path | None = None
) -> BaseProcess:
    """A process that runs `code` as `python -c` does, in this folder, with more in its environment.

    Not for what a fresh Python is to show: modules are imported already, and torch has its threads from the server.
    """
    process = _SERVED.Process(
        target=_run, args=(code, arguments, {**os.environ, **(environment or {})}, Path.cwd(), stdout)
    )
    process.start()
    return process


def ended(process: BaseProcess, timeout: float = 500) -> int | None:
    """The exit code of a process, -9 where it was killed, once it is there; None if it is not in time."""
    process.join(timeout)
    return process.exitcode


def _run(code: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, stdout: Path | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    if stdout is not None:
        os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    exec(compile(code, "<child>", "exec"), {"__name__": "__main__"})
