"""Plots that stand alone: what they say, and that they say the same twice."""

from gaincell.report.plots import curve_plot


def test_a_curve_names_its_runs_and_the_original() -> None:
    curves = {"extended": [(1000.0, 60.0), (2000.0, 31.5)], "leroux2025": [(1000.0, 300.0)]}
    plot = curve_plot(curves, 19.56)
    for words in ("extended", "leroux2025", "original: 19.56", "31.5", "thousand tokens", "var(--series-2)"):
        assert words in plot
    assert curve_plot(curves, 19.56) == plot
