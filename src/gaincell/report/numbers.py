"""Numbers and units as people read them."""


def number(value: float | None, digits: int = 4) -> str:
    """So many digits, in plain notation where that is short."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 10**digits:
        return f"{value:,.{digits}g}"
    return f"{value:,.0f}" if 1 <= abs(value) < 1e6 else f"{value:.3g}"


def unit(text: str) -> str:
    """A unit with its power as such, and nothing for a plain number."""
    return {"-": "", "x": "", "mm2": "mm²", "m2": "m²", "us": "µs"}.get(text, text)


def scaled(value: float, unit: str, digits: int = 3) -> str:
    """So many digits with a prefix, pico at least."""
    prefixes = (("", 1), ("m", 1e-3), ("µ", 1e-6), ("n", 1e-9))
    prefix, factor = next(((p, f) for p, f in prefixes if value >= f), ("p", 1e-12))
    return f"{number(value / factor, digits)} {prefix}{unit}"
