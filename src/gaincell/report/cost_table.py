"""An estimate, and the same attention elsewhere, as tables of text."""

from collections.abc import Iterable

from gaincell.hardware import Estimate, Row
from gaincell.hardware.opponents import Opponent
from gaincell.report.numbers import number, scaled, unit

COST_COLUMNS = ("", "estimate", "unit", "published", "estimate / published", "")
OPPONENT_COLUMNS = (
    *("the same attention on", "latency", "energy", "area"),
    *("latency / ours", "energy / ours", "less energy"),
)
OPEN = "open"


def cost_rows(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Rows of an estimate as text."""
    return [
        (row.name, number(row.value), unit(row.unit), number(row.published), number(row.ratio, 3), row.basis)
        for row in rows
    ]


def opponent_row(found: Estimate, rival: Opponent) -> tuple[str, ...]:
    """The same attention elsewhere, as text."""
    least, most = rival.energy_j
    ratios = rival.thriftier(found)
    return (
        rival.name,
        scaled(rival.latency_s, "s"),
        _range(scaled(least, "J"), scaled(most, "J")),
        "–" if rival.area_m2 is None else f"{number(rival.area_m2 * 1e6)} mm² (×{rival.area_m2 / found.area_m2:.2g})",
        f"×{number(rival.faster(found), 3)}",
        _range(*(f"×{number(ratio, 3)}" for ratio in ratios)),
        rival.energy_winner(found) or OPEN,
    )


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"
