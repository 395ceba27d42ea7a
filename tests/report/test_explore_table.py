"""Points of a study as CSV, to the last digit, and as LaTeX."""

import csv
import io
import json
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from gaincell.cell import load_cell
from gaincell.explore import Point, begin
from gaincell.report.explore_table import as_csv, as_latex


def test_what_is_read_back_from_csv_is_what_was_measured() -> None:
    values = {"clock_hz": 1234567891.2345679, "output_levels": 16, "leak_per_token": None}
    figures = {"kl": 0.1 + 0.2, "energy_j": 8.654321987654321e-7}
    text = as_csv([Point(0, values, "as_is", figures)], list(values), ["kl", "energy_j"])
    (row,) = csv.DictReader(io.StringIO(text))
    assert float(row["clock_hz"]) == values["clock_hz"]
    assert (row["output_levels"], row["leak_per_token"]) == ("16", "null")
    assert [float(row["kl [nats]"]), float(row["energy_j [J]"])] == [*figures.values()]


def test_letters_that_latex_reads_otherwise_are_spelt(tmp_path: Path) -> None:
    cell = tmp_path / "~my^cell_1.yaml"
    cell.write_text(json.dumps(load_cell("ito-2t0c").model_dump(mode="json")), "utf-8")
    study = begin("gpt2", {"cell": [str(cell)]}, tmp_path / "journal.log")
    study.run()
    assert r"\textasciitilde{}my\textasciicircum{}cell\_1.yaml & as\_is" in as_latex(study)
