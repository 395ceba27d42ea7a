"""A cell's page: complete, self-contained, safe; and what it warns of."""

import re
from pathlib import Path

import numpy as np
import pytest

from gaincell.cell import Cell
from gaincell.cell.decays import read_decays
from gaincell.cell.fit import fit_law
from gaincell.cell.fit_retention import fit_retention
from gaincell.circuit.decay import Decay
from gaincell.report import plots
from gaincell.report.cell_page import NO_PLOTS, CellPage, Group, Panel, render_cell_page, write_cell_page
from gaincell.report.characterised import _retention_warnings
from gaincell.report.fitted import fitted_page, fitted_warnings

Y = np.linspace(-0.45, 0.45, 19)
CURRENT = 3 * Y + 9 * Y**3
NASTY = "<script>alert('x')</script> & \"quotes\""


def write_law(path: Path, current: np.ndarray = CURRENT) -> Path:
    lines = (f"{y + 0.45:.6f},{i:.9f}" for y, i in zip(Y, current, strict=True))
    path.write_text("\n".join(["stored [V],current [uA]", *lines]))
    return path


def write_decay(path: Path, left: np.ndarray) -> Path:
    lines = (f"{t},{0.45 + 0.4 * x:.9f}" for t, x in enumerate(left))
    path.write_text("\n".join(["time [ms],stored [V]", *lines]))
    return path


def fitted(folder: Path, *, current: np.ndarray = CURRENT, left: np.ndarray | None = None) -> CellPage:
    law = fit_law(write_law(folder / "law.csv", current))
    decay = write_decay(folder / "decay.csv", np.exp(-np.arange(20) / 7) if left is None else left)
    cell = Cell(name=NASTY, law=law.law, retention=fit_retention(decay))
    return fitted_page(cell, law, read_decays(decay))


def test_a_fitted_cells_page_is_whole_and_the_same_twice(tmp_path: Path) -> None:
    page = fitted(tmp_path)
    assert not page.warnings
    text = render_cell_page(page)
    assert [panel.title for panel in page.panels] == ["Charge law", "Residuals", "Order", "Retention"]
    assert text.count("<svg") == 4
    assert "Nothing stands out" in text
    assert "Tau 7 ms" in text
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/", "")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert render_cell_page(fitted(tmp_path)) == text


def test_it_says_what_to_mind_of_measured_data(tmp_path: Path) -> None:
    current = CURRENT.copy()
    current[4] += 1.5
    words = " ".join(fitted(tmp_path, current=current, left=1 - np.arange(20) / 25).warnings)
    assert "1 of 19 points" in words
    assert "closer to constant-current than exponential" in words


def test_decays_are_told_one_by_one_or_where_they_are_many_by_die(tmp_path: Path) -> None:
    law = fit_law(write_law(tmp_path / "law.csv"))
    for cells, rows in ((3, 6), (20, 2)):
        lines = [
            f"{t},{0.45 + 0.4 * np.exp(-t / (5 + n)):.9f},0.85,{die},{n}"
            for die in "AB"
            for n in range(cells)
            for t in range(9)
        ]
        path = tmp_path / "decays.csv"
        path.write_text("\n".join(["time [ms],stored [V],written [V],die,cell", *lines]))
        cell = Cell(name="a", law=law.law, retention=fit_retention(path))
        told = fitted_page(cell, law, read_decays(path)).groups[-1]
        assert told.title == "Decays"
        assert len(told.rows) == rows
        assert "die A" in told.rows[0][0]
        few = [words for words in fitted_warnings(cell, law, read_decays(path)) if "few" in words]
        assert len(few) == (cells == 3)


def test_a_retention_that_was_given_is_told(tmp_path: Path) -> None:
    law = fit_law(write_law(tmp_path / "law.csv"))
    cell = Cell.model_validate(
        {"name": "a", "law": law.law, "retention": {"tau": 5, "unit": "ms", "source": "given by --tau"}}
    )
    assert list(fitted_warnings(cell, law, ())) == ["The retention was given, not fitted."]
    assert len(fitted_page(cell, law, ()).panels) == 3


def test_without_matplotlib_there_is_a_page_and_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    page = fitted(tmp_path)
    assert write_cell_page(page, tmp_path / "cell.html") == NO_PLOTS
    text = (tmp_path / "cell.html").read_text("utf-8")
    assert "<svg" not in text
    assert "pip install matplotlib" in text
    assert "deviation of the data" in text


def test_every_word_is_escaped() -> None:
    page = CellPage(NASTY, NASTY, [NASTY], [Panel(NASTY, NASTY, "")], [Group(NASTY, NASTY, [(NASTY,) * 3])], NASTY)
    text = render_cell_page(page)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 12


def decay(*rows: np.ndarray) -> Decay:
    time = np.linspace(0, 3, 301)
    left = np.array([row for row in rows])
    until = {k: int(np.argmax(row < 1 / np.e)) for k, row in enumerate(left) if row.min() < 1 / np.e}
    return Decay(time, 0.45 * left, until, 3.0, "a test")


def test_the_shape_of_a_decay_is_told_apart() -> None:
    time = np.linspace(0, 3, 301)
    exponential, line = decay(np.exp(-time)), decay(1 - time / 2)
    assert exponential.tau_s == pytest.approx(1, rel=1e-3)
    assert exponential.misfits[0] < 1e-3 < exponential.misfits[1]
    assert line.misfits[1] < 1e-9 < line.misfits[0]
    assert not list(_retention_warnings(exponential))
    assert "closer to constant-current" in " ".join(_retention_warnings(line))
    two = " ".join(_retention_warnings(decay(np.exp(-time), np.exp(-20 * time), np.ones(301))))
    assert "Only 2 of 3" in two
    assert "0.05 to 1 s" in two
    assert "lower bound" in " ".join(_retention_warnings(decay(np.ones(301))))


def test_every_colour_of_the_page_is_defined_on_a_screen(tmp_path: Path) -> None:
    """What is drawn in a variable that is set for print only has no lines on a screen."""
    screen = re.sub(r"@media print \{.*?\n\}\n", "", render_cell_page(fitted(tmp_path)), flags=re.DOTALL)
    used, known = set(re.findall(r"var\(--([\w-]+)\)", screen)), set(re.findall(r"--([\w-]+):", screen))
    assert {"ink", "series-1"} <= used <= known
