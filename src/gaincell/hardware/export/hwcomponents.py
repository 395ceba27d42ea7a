"""A design point as a package of component models that hwcomponents finds once it is installed.

hwcomponents (of the Accelergy and Timeloop family) looks through installed modules whose names begin with
`hwcomponents_`. Its units are ours: joule, second, square metre, watt.
"""

import json
from pathlib import Path
from textwrap import fill

from gaincell.atomic import written_aside
from gaincell.hardware.components import Component
from gaincell.hardware.estimation import Estimate
from gaincell.hardware.export.figures import figures, parts_in_use

_MODULE = "hwcomponents_gaincell"

_PROJECT = f"""\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{_MODULE.replace("_", "-")}"
version = "0"
description = "Parts of attention in analog gain-cell memory at one design point"
requires-python = ">=3.12"
dependencies = ["hwcomponents>=1.0.114"]

[tool.setuptools]
packages = ["{_MODULE}"]
package-data = {{ {_MODULE} = ["figures.json"] }}
"""

_HEAD = '''\
"""Parts of attention in analog gain-cell memory at one design point, written by gaincell.

Each figure of figures.json is for one action, or one instance, and comes with its source. Times `actions_per_token` and
added up with `beside_j`, the actions make the energy of one token over all layers. A part whose latency is 0 has none
of its own: its time is in `latency_s` of the whole.
"""

import json
from pathlib import Path

from hwcomponents import ActionCost, ComponentModel, action

FIGURES = json.loads((Path(__file__).parent / "figures.json").read_text("utf-8"))


class _Part(ComponentModel):
    """A part with one action, which AccelForge calls 'compute' in a Compute and 'read' elsewhere."""

    def __init__(self):
        self._figures = FIGURES["components"][self.component_name.removeprefix("gaincell_")]
        super().__init__(leak_power=self._figures["static_w"], area=self._figures["area_m2"])

    def _cost(self):
        seconds = self._figures["latency_s"]
        return ActionCost(self._figures["energy_j"], seconds, 1 / seconds if seconds else float("inf"))

    @action
    def read(self):
        """The part's one action."""
        return self._cost()

    @action
    def compute(self):
        """The part's one action."""
        return self._cost()
'''


def write_hwcomponents(estimate: Estimate, folder: Path) -> None:
    """Write an installable package with a component model for every part in use: `pip install FOLDER`.

    It needs hwcomponents and Python 3.12, and nothing of gaincell. A part `dac` is the component `gaincell_dac`.
    """
    classes = [_class(name, part) for name, part in parts_in_use(estimate).items()]
    files = {
        "pyproject.toml": _PROJECT,
        f"{_MODULE}/figures.json": json.dumps(figures(estimate), indent=2) + "\n",
        f"{_MODULE}/__init__.py": "\n\n".join([_HEAD, *classes]),
    }
    for name, text in files.items():
        with written_aside(folder / name) as path:
            path.write_text(text, "utf-8")


def _class(name: str, part: Component) -> str:
    figure = f"{part.energy_j:.4g} J, {part.area_m2:.4g} m2. Known by: {part.kind}; {part.source}."
    about = "\n".join("    # " + line for line in fill(f"{part.action}. {figure}", 110).splitlines())
    head = f"class Gaincell{name.title().replace('_', '')}(_Part):"
    return f'{head}\n{about}\n    component_name = "gaincell_{name}"\n'
