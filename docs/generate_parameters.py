"""Writes docs/parameters.md and docs/settings.md, so that these pages cannot disagree with the code.

Run `make docs`, or `.venv/bin/python docs/generate_parameters.py`.
"""

from importlib import resources
from pathlib import Path
from typing import Any

from gaincell.adapt import AdaptSettings
from gaincell.cell import Cell, cell_presets, load_cell
from gaincell.config import GainCellConfig

PAGE = Path(__file__).with_name("parameters.md")

SETTINGS_PAGE = Path(__file__).with_name("settings.md")

SETTINGS = """\
<!-- Written by docs/generate_parameters.py. Change src/gaincell/adapt/settings.py and run `make docs`. -->

# Settings of adaptation

How much text and how many steps [adaptation](adaptation.md) takes, and how fast it learns. Any of them is given at the
command line by `--set`, and in Python as a field of `AdaptSettings`:

<!-- not run: minutes of learning -->
```bash
gaincell adapt demo --out runs/a --set length=512 --set steps=96
```

```python
from gaincell.adapt import AdaptSettings

settings = AdaptSettings(length=512, steps=96)
```

Those that start with `distill_` are of the stage `distill`, and of the paper's recipe.
"""

INTRODUCTION = """\
<!-- Written by docs/generate_parameters.py. Change the fields in src/gaincell/config.py and run `make docs`. -->

# Parameters of a design point

A `GainCellConfig` says everything about a design point: geometry, levels, voltages, cell, timing and options. It is
frozen and validated, it refuses fields it does not know, and it tells what is wrong in one sentence.

```python
from gaincell import GainCellConfig

config = GainCellConfig.preset("leroux2025")  # the published design point
config = config.replace(window=512, cell="my_cell.yaml")  # a copy, validated like a new one
config = GainCellConfig.load("my_design.yaml")  # YAML or JSON; fields that are absent keep their defaults
print(config.to_yaml())
```

```yaml title="my_design.yaml"
name: my design
window: 512
stored_levels: 16
normaliser: column
```

Voltages are in volt and times in second. "Model charge" is the published scale, on which a cell with 0.45 V above its
zero gives 10.313 per full pulse and a score saturates at 80. `null` in YAML is `None` in Python. Of the sources,
"paper" is Leroux et al., *Analog in-memory computing attention mechanism for fast and energy-efficient large language
models*, Nature Computational Science 5, 813-824 (2025), and "released code" the training code that
its authors published with it.
"""

SHORT = {
    "Leroux et al., Nature Computational Science 5, 813-824 (2025)": "paper",
    "released training code of Leroux et al. 2025": "released code",
}

CELL_FILES = """\
## Cell files

`cell` takes the name of a shipped cell, the path of a cell file, or the content of one. A cell file is YAML with these
fields, and every quantity comes with its unit and its source. This one says what the
shipped cell `leroux2025` does:

```yaml title="my_cell.yaml"
{example}```

- `law.coefficients`: C_0, C_1, ... of f(y) = C_0 + C_1 y + C_2 y^2 + ..., the charge that a cell adds per unit of pulse
  width, with y the stored voltage above `zero_v`, in volt. Two to twelve of them.
- `law.unit`: `model`, or `C/s` (coulomb per second of pulse) for a law from a netlist or a measurement. Such a law is
  rescaled so that f(0.45 V) = 10.313, so that `score_saturation` and `output_scale` keep their meaning; the factor is
  kept for energies.
- `retention.tau`, `retention.unit` (`s`, `ms` or `us`): the stored voltage decays towards its zero as exp(-t / tau).
- Optional: `retention.table`, a decay that is not exponential, and `circuit`, what else
  [`gaincell characterize`](circuit.md) finds. `Retention` and `CircuitFigures` in the [API reference](reference.md)
  have their fields. They are kept with the cell, and count where the design point asks for them: `retention`,
  `mismatch_seed`, `charge_to_pulse`, `feedthrough`.

| Cell | Coefficients | tau | What it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page as Markdown."""
    fields = GainCellConfig.model_fields
    schema = GainCellConfig.model_json_schema()["properties"]

    lines = [INTRODUCTION, "## Fields\n", "| Field | Default | Unit | Meaning |", "| --- " * 4 + "|"]
    for name, field in fields.items():
        about: Any = field.json_schema_extra
        source = about["source"]
        for long, short in SHORT.items():
            source = source.replace(long, short)
        means = (field.description or "").replace("*", "\\*")
        meaning = f"{means}<br>*Allowed: {allowed(name, schema[name])}. Source: {source}.*"
        row = (f"`{name}`", show(field.default), about["unit"], meaning)
        lines.append(f"| {' | '.join(entry(text) for text in row)} |")

    presets = [GainCellConfig.preset(name) for name in GainCellConfig.presets()]
    default = GainCellConfig()
    changed = [n for n in fields if n != "name" and any(getattr(p, n) != getattr(default, n) for p in presets)]
    lines += [
        "\n## Presets\n",
        "`GainCellConfig.preset(name)` gives a shipped design point. Only the fields that differ from the defaults",
        "in one of them are listed.\n",
        f"| Field | default | {' | '.join(f'`{p.name}`' for p in presets)} |",
        "| --- " * (len(presets) + 2) + "|",
    ]
    for name in changed:
        row = (show(getattr(point, name)) for point in (default, *presets))
        lines.append(f"| `{name}` | {' | '.join(entry(text) for text in row)} |")

    example = (resources.files("gaincell.cell") / "presets" / "leroux2025.yaml").read_text("utf-8")
    text = "\n".join(lines) + "\n\n" + CELL_FILES.format(example=example)
    for known in map(load_cell, cell_presets()):
        coefficients = ", ".join(f"{c:.10g}" for c in known.law.coefficients)
        row = (f"`{known.name}`", coefficients, f"{known.retention.tau:g} {known.retention.unit}", known.description)
        text += f"| {' | '.join(entry(part) for part in row)} |\n"
    return text


def settings() -> str:
    """The page of adaptation's settings, as Markdown."""
    lines = [SETTINGS, "| Field | Default | Meaning |", "| --- " * 3 + "|"]
    schema = AdaptSettings.model_json_schema()["properties"]
    for name, field in AdaptSettings.model_fields.items():
        options = schema[name].get("anyOf", [schema[name]])
        choices = [f"`{choice}`" for option in options for choice in option.get("enum", ())]
        meaning = (field.description or "") + (f"<br>*Allowed: {' or '.join(choices)}.*" if choices else "")
        lines.append(f"| {' | '.join(entry(text) for text in (f'`{name}`', show(field.default), meaning))} |")
    return "\n".join(lines) + "\n"


def show(value: Any) -> str:
    """A value as a design file would have it."""
    if isinstance(value, Cell):
        value = value.name
    if isinstance(value, float):
        value = f"{value:.6g}"
    if isinstance(value, tuple):
        value = f"[{', '.join(f'{x:.6g}' for x in value)}]"
    return "`null`" if value is None else f"`{value}`"


def allowed(name: str, schema: dict[str, Any]) -> str:
    """The values a field may have, from its JSON schema."""
    if name in ("name", "cell"):
        return "see below" if name == "cell" else "text"
    options = schema.get("anyOf", [schema])
    number = next(option for option in options if option.get("type") != "null")
    if "enum" in number:
        return " or ".join(f"`{choice}`" for choice in number["enum"])
    if number["type"] == "array":
        return "positive, increasing numbers"
    if number["type"] == "boolean":
        return "`true` or `false`"
    kind = "whole number" if number["type"] == "integer" else "number"
    words = {"exclusiveMinimum": "above", "minimum": "at least", "maximum": "at most"}
    limits = [
        f"{word} {number[key]:g}" if kind == "number" else f"{word} {number[key]}"
        for key, word in words.items()
        if key in number
    ]
    return f"{kind} {', '.join(limits)}" + (", or `null`" if len(options) > 1 else "")


def entry(text: str) -> str:
    """Text that stays inside one cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    SETTINGS_PAGE.write_text(settings(), "utf-8")
