"""`gaincell cost --against`: the same attention elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gaincell.cli import screen

if TYPE_CHECKING:
    from gaincell.hardware import Estimate
    from gaincell.hardware.opponents import Opponent
    from gaincell.hardware.roofline import WholeToken

COLUMNS = ("the same attention on", "latency", "energy", "area", "latency / ours", "energy / ours", "less energy")
OPEN = "open"


def find_opponents(found: "Estimate", names: Sequence[str]) -> "list[Opponent]":
    """Digital at the same node and bits, and the accelerators that were named.

    Raises:
        InputError: a name that is neither a known accelerator nor a file of one.
    """
    from gaincell.hardware.accelerators import find_accelerator
    from gaincell.hardware.opponents import opponents

    return opponents(found, [find_accelerator(name) for name in names])


def show_opponents(found: "Estimate", rivals: "list[Opponent]") -> None:
    """The table, and what to know of it."""
    from gaincell.hardware.opponents import DIGITAL_CAVEAT
    from gaincell.hardware.roofline import ROOFLINE_CAVEAT

    screen.show_table(COLUMNS, [opponent_row(found, each) for each in rivals], "The same attention elsewhere, batch 1")
    screen.show(DIGITAL_CAVEAT)
    if any(each.area_m2 is None for each in rivals):
        screen.show(ROOFLINE_CAVEAT)
    for each in rivals:
        if not each.fits:
            screen.show(f"One {each.name} cannot hold this cache: its figures are of a fiction.")
        if each.energy_winner(found) is None:
            least, most = (f"{ratio:.3g}" for ratio in each.thriftier(found))
            screen.show(
                f"Who takes less energy, gain cells or {each.name}, is open: it takes x{least} to x{most} of ours."
            )


def opponent_row(found: "Estimate", rival: "Opponent") -> tuple[str, ...]:
    """A line of the table, as text."""
    from gaincell.report.numbers import number, scaled

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


def energy_note(whole: "WholeToken") -> str:
    """A sentence where the two ends of the whole token's energy disagree about who takes less; else empty."""
    gains = sorted((whole.energy_gain, whole.idle_free_gain))
    if not gains[0] < 1 < gains[1]:
        return ""
    return (
        f"Whether gain cells save energy over the whole token is open: x{whole.energy_gain:.3g} less at rated power, "
        f"x{whole.idle_free_gain:.3g} less of operations and bytes alone."
    )


def as_json(found: "Estimate", rivals: "list[Opponent]") -> list[dict[str, Any]]:
    """All figures, in SI units."""
    return [each.to_dict(found) for each in rivals]


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"
