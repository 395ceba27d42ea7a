"""The page's colours, light and dark; those of series after Okabe and Ito (2008), told apart by the colour-blind.

Series: blue, vermilion, green, purple, grey, orange, sky. Magnitudes run from `heat-low` to `heat-high` in lightness
alone, so they read without colour, too.
"""

LIGHT = {
    "paper": "#fdfdfc",
    "ink": "#1b1f24",
    "faint": "#5b6470",
    "line": "#dcdfe4",
    "tint": "#f2f4f6",
    "heat-low": "#eef1f5",
    "heat-high": "#08407f",
    "series-1": "#0072b2",
    "series-2": "#d55e00",
    "series-3": "#009e73",
    "series-4": "#cc79a7",
    "series-5": "#8a8f98",
    "series-6": "#e69f00",
    "series-7": "#56b4e9",
}
DARK = {
    "paper": "#13161a",
    "ink": "#e5e8ec",
    "faint": "#9ba5b2",
    "line": "#323942",
    "tint": "#1d2127",
    "heat-low": "#20262e",
    "heat-high": "#a9d8ff",
    "series-1": "#4aa8de",
    "series-2": "#f2833f",
    "series-3": "#2fbf94",
    "series-4": "#d795bd",
    "series-5": "#8a8f98",
    "series-6": "#e8b04a",
    "series-7": "#8fd0f5",
}


def variables(*, toggled: bool = False) -> str:
    """CSS that sets the variables as the reader's system wants them; `toggled`: or as `data-theme` says."""
    light, dark = ("".join(f"--{name}:{value};" for name, value in each.items()) for each in (LIGHT, DARK))
    rules = [f":root{{{light}}}", f"@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"]
    if toggled:
        # A printed page is light, whatever the screen is.
        rules += [
            f":root[data-theme=light]{{{light}}}",
            f":root[data-theme=dark]{{{dark}}}",
            f"@media print{{:root,:root[data-theme]{{{light}}}}}",
        ]
    return "\n".join(rules)
