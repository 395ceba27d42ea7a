"""A page's template, filled: style, scripts and data stand in the page, so that it needs nothing from elsewhere."""

import json
import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

from gaincell.report.numbers import number, unit
from gaincell.report.palette import variables
from gaincell.version import __version__


def filled(template: str, scripts: Sequence[str], data: dict[str, Any], **fields: Any) -> str:
    """The page's text.

    Every page is `base.html`, with `kind`, `title` and `summary`; `headline` and `note` may be missing.

    Args:
        template: its file in this folder, which fills the base.
        scripts: files of `script`, in the order in which each needs those before.
        data: what they draw from.
        fields: what else the template shows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=PackageLoader("gaincell.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"number": number, "unit": unit}
    package = resources.files("gaincell.report")
    style = variables(toggled=True) + "\n" + (package / "style.css").read_text("utf-8")
    script = "\n".join((package / "script" / name).read_text("utf-8") for name in scripts)
    # In a script element only "<" could end what is data.
    text = json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return pages.get_template(template).render(
        data=data,
        style=Markup(style),
        script=Markup(script),
        json=Markup(text),
        version=__version__,
        **{"headline": (), "note": "", **fields},
    )


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
