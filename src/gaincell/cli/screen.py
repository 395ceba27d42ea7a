"""What a command shows: results on stdout; progress, notes and errors on stderr."""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gaincell.progress import Progress

if TYPE_CHECKING:
    from rich import progress as rich

#: Seconds between two lines of one stage where there is no terminal.
LINE_EVERY_S = 10.0

#: Columns of a table where there is no terminal to ask.
_WIDTH = 120


def prepare() -> None:
    """Let output survive a terminal that lacks a character, and show what the library logs as notes."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    logger = logging.getLogger("gaincell")
    if not any(isinstance(handler, _Notes) for handler in logger.handlers):
        logger.addHandler(_Notes())
        logger.propagate = False


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(f"note: {record.getMessage()}")


def say(line: str) -> None:
    """One line for people, on stderr."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def show(text: str = "") -> None:
    """A result for people, on stdout."""
    print(text, flush=True)  # noqa: T201


def show_json(data: Any) -> None:
    """A result for machines, on stdout; JSON knows no infinity and no NaN, so they become null."""
    show(json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", text_columns: int = 1) -> None:
    """A table on stdout. The first columns are text, the others are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < text_columns else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH, markup=False, highlight=False)
    console.print(table)


def quiet_transformers() -> None:
    """No progress bars and no warnings of transformers' own; what matters is told by gaincell."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


class _Lines:
    """Plain lines: one every so often, and one at a stage's end."""

    def __init__(self) -> None:
        self._ended = time.monotonic()  # when the stage before did
        self._began: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        began = self._began.setdefault(stage, self._ended)
        if done >= total:
            say(f"{stage}: {total} of {total} in {now - began:.0f} s")
            del self._began[stage]
            self._last.pop(stage, None)
            self._ended = now
        elif now - self._last.get(stage, began) >= LINE_EVERY_S:
            self._last[stage] = now
            left = (now - began) / max(done, 1) * (total - done)
            say(f"{stage}: {done} of {total}, about {left:.0f} s left")


class _Bars:
    """One bar a stage, with the time left."""

    def __init__(self, bars: "rich.Progress") -> None:
        self._bars = bars
        self._tasks: dict[str, rich.TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)
        if done >= total:
            del self._tasks[stage]  # a later stage of the same name gets a bar of its own


@contextmanager
def stages() -> Iterator[Progress]:
    """Show progress while the block runs: bars on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left:"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bars:
        yield _Bars(bars)
