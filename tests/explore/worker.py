"""One worker of a study whose quality is made up: python worker.py STORAGE SECONDS [POINTS]."""

import sys
import time
from typing import Any

from gaincell.config import GainCellConfig
from gaincell.explore import Space, Study
from gaincell.explore.bench import Bench, ShapeBench
from gaincell.explore.measured import Measured
from gaincell.explore.storage import Storage
from gaincell.explore.study import Asked
from gaincell.hardware import Activity
from gaincell.hardware.named import find_model

VARY = {"output_levels": "8,16,32,64", "subtile_columns": "128,1024"}


class MadeUp:
    """A bench whose divergence is smaller the more levels there are, and takes so many seconds."""

    runs = True

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.asked = seconds, []
        self.identity: dict[str, Any] = {"model": "made up"}
        self.found: dict[str, Any] = {}
        self.shape = find_model("gpt2").fields

    def prepare(self) -> None: ...

    def measure(self, point: GainCellConfig, fidelity: str) -> Measured:
        time.sleep(self.seconds)
        self.asked.append((point, fidelity))
        kl = 8.0 / (point.output_levels or 1) + point.subtile_columns / 4096
        kl *= {"as_is": 1.0, "matched": 0.5, "distilled": 0.25}[fidelity]
        return Measured(kl, 2.0, 1.0, Activity.reference(point).to_dict())


def study(storage: Storage, bench: Bench | None = None, **changes: Any) -> Study:
    vary, how = changes.pop("vary", VARY), changes.pop("how", {})
    asked = {"objectives": ("kl", "energy_j"), **changes}
    space = Space.of(vary, GainCellConfig.named("leroux2025"), changes.pop("hardware", None))
    asked.pop("hardware", None)
    return Study(Asked(space, **asked), bench or MadeUp(), storage, **how)


def shape(name: str = "gpt2") -> ShapeBench:
    return ShapeBench(find_model(name))


if __name__ == "__main__":
    place, seconds = sys.argv[1], float(sys.argv[2])
    study(Storage(place, heartbeat=(1, 2)), MadeUp(seconds)).run()
