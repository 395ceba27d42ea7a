"""How far a piece of work is, told while it goes on."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

#: Called with a stage's name, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]


def of_stage(progress: Progress | None, stage: str) -> Callable[[int, int], None]:
    """A callback (done, total) for one stage of what `progress` is told; where nobody listens, it does nothing."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(stage, done, total)

    return report


class Listener(Protocol):
    """Whom a command of many steps tells how it goes: `gaincell.cli.screen` is one, and `Silence` another."""

    def say(self, line: str) -> None:
        """One line for people."""

    def stages(self) -> AbstractContextManager[Progress]:
        """Shows progress while the block runs."""
        ...


class Silence:
    """A listener that shows nothing."""

    def say(self, line: str) -> None:
        """Says nothing."""

    def stages(self) -> AbstractContextManager[Progress]:
        """Shows nothing."""
        return nullcontext(lambda stage, done, total: None)
