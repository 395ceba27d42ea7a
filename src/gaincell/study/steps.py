"""A list of steps, and the file that remembers which are done."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaincell.atomic import written_aside
from gaincell.errors import InputError
from gaincell.files import read_object, with_hash
from gaincell.progress import Listener, Progress, Silence
from gaincell.version import __version__

_REMEDY = "delete it, or give another --out"
#: Changes when an older results.json cannot be gone on with.
FORMAT = 1


@dataclass(frozen=True)
class Step:
    """One step of a long command.

    Attributes:
        name: what the record calls it.
        title: what people are told it is.
        run: does it; what it returns (plain values) is kept in the record.
        files: what it leaves on disk; without them it is not done, whatever the record says.
        key: what besides the settings decides what it finds, an adapter's checksum, say; of another it is not done.
    """

    name: str
    title: str
    run: Callable[[Progress], dict[str, Any]]
    files: tuple[Path, ...] = ()
    key: str = ""


class Record:
    """results.json of a run: its settings, and per finished step what it found and how long it took.

    Args:
        path: the file; read if it is there.
        settings: plain values that say what this run is.
        anew: whether a file of another run is begun anew, for steps that cost little.

    Raises:
        InputError: the file belongs to a run with other settings, or is damaged; not if `anew`.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, anew: bool = False) -> None:
        self.path = path
        self.data: dict[str, Any] = {
            "format": FORMAT,
            "gaincell": __version__,
            "settings": settings,
            "steps": {},
        }
        if path.exists():
            with suppress(InputError) if anew else nullcontext():
                self._read()

    def _read(self) -> None:
        try:
            found = read_object(self.path, _REMEDY)
            same_format = found["format"] == FORMAT and isinstance(found["steps"], dict)
            settings = dict(found["settings"])
            for step in dict(found["steps"]).values():
                if not isinstance(step["result"], dict) or float(step["seconds"]) < 0:
                    raise ValueError
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path} is damaged; {_REMEDY}.") from None
        if not same_format or found.get("gaincell") != self.data["gaincell"]:
            raise InputError(
                f"{self.path} was written by gaincell {found.get('gaincell')}, this is {self.data['gaincell']}; "
                "give another --out."
            )
        ours = json.loads(json.dumps(self.data["settings"]))
        if settings != ours:
            other = sorted(key for key in {*settings, *ours} if settings.get(key) != ours.get(key))
            raise InputError(
                f"{self.path.parent} holds a run with other settings ({', '.join(other)}); give another --out."
            )
        self.data = found

    def is_done(self, step: Step) -> bool:
        """Whether the step has its result here, under its key, and its files on disk."""
        found = self.data["steps"].get(step.name)
        return found is not None and found.get("key", "") == step.key and all(path.exists() for path in step.files)

    def result(self, name: str) -> dict[str, Any]:
        """What a finished step found."""
        return self.data["steps"][name]["result"]

    def seconds(self, name: str) -> float:
        """How long a finished step took."""
        return self.data["steps"][name]["seconds"]

    def store(self, step: Step, result: dict[str, Any], seconds: float) -> None:
        """Keep a step's result, on disk too."""
        self.data["steps"][step.name] = {"key": step.key, "seconds": round(seconds, 3), "result": result}
        self.save()

    def save(self) -> None:
        """Write the file beside and rename it, so that it is never half a file."""
        with written_aside(self.path) as aside:
            aside.write_text(json.dumps(with_hash(self.data), indent=2, ensure_ascii=False), "utf-8")


def run_steps(
    steps: Sequence[Step],
    record: Record,
    listener: Listener | None = None,
    unavailable: tuple[type[Exception], ...] = (),
) -> dict[str, Exception]:
    """Run the steps that are not done yet, in order. After one that runs, later ones run again only if undone.

    Args:
        steps: all of them.
        record: remembers which are done.
        listener: is told which step it is, and how far.
        unavailable: what a step may raise that cannot be done here.

    Returns:
        Steps that raised something `unavailable`, by name: left undone and told in a note.
    """
    listener = listener or Silence()
    skipped: dict[str, Exception] = {}
    for number, step in enumerate(steps, 1):
        label = f"[{number}/{len(steps)}] {step.title}"
        if record.is_done(step):
            listener.say(f"{label}: done before")
            continue
        listener.say(label)
        began = time.monotonic()
        try:
            with listener.stages() as progress:
                result = step.run(progress)
        except unavailable as error:
            skipped[step.name] = error
            listener.say(f"note: left out: {error}")
            continue
        record.store(step, result, time.monotonic() - began)
    return skipped
