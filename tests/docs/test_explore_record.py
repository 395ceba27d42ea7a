"""The page on quality against cost: its points are of the adapter and the design point that ship."""

from tools.pages.data import kept, shipped
from tools.pages.explore import ADAPTER

from gaincell.explore.dominance import beats


def test_points_are_of_the_adapter_that_ships() -> None:
    record = kept("explore.json")
    assert record["adapters"] == shipped([ADAPTER])
    assert record["bench"]["adapter"] == shipped([ADAPTER])[ADAPTER]
    figures = {x["number"]: [x["figures"][name] for name in record["objectives"]] for x in record["points"]}
    best = [n for n, own in figures.items() if not any(beats(other, own) for other in figures.values())]
    assert sorted(best) == sorted(record["front"])
