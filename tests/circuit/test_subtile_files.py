"""Files of sub-tiles: read back as written, and refused in a sentence where their numbers do not fit together."""

import json
from pathlib import Path
from typing import Any

import pytest

from gaincell import GainCellConfig, InputError
from gaincell.circuit.compare import random_subtiles
from gaincell.circuit.subtile import load_subtiles, save_subtiles

CONFIG = GainCellConfig.named("extended")


def test_a_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    tiles = random_subtiles(CONFIG, dim=8, count=2)
    save_subtiles(CONFIG, tiles, tmp_path / "columns.json")
    assert load_subtiles(tmp_path / "columns.json") == (CONFIG, tiles)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pulses": [16] * 8}, "'pulses'"),
        ({"pulses": [0.5] * 8}, "'pulses'"),
        ({"keys": [[8] * 8]}, "'keys'"),
        ({"keys": [[1] * 7]}, "'keys'"),
        ({"values": [[-1] * 64]}, "'values'"),
        ({"phi": [1.5] * 64}, "'phi'"),
        ({"phi": [float("nan")] * 64}, "'phi'"),
        ({"tokens": [64]}, "'tokens'"),
        ({"ages": "old"}, "no number"),
        ({"voltage": 1}, "fields"),
    ],
)
def test_numbers_that_do_not_fit_are_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "columns.json"
    save_subtiles(CONFIG, random_subtiles(CONFIG, dim=8, count=1), path)
    data = json.loads(path.read_text())
    data["subtiles"][0] |= change
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=words):
        load_subtiles(path)


@pytest.mark.parametrize("text", ["{}", '{"design_point": {}, "subtiles": []}', "not json", "[]"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "columns.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"columns\.json"):
        load_subtiles(path)
