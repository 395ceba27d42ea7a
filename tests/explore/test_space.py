"""What is varied: how it is read, what it makes, and what is refused."""

from pathlib import Path

import pytest

from gaincell import GainCellConfig, InputError
from gaincell.explore import Space
from gaincell.explore.space import fields_of
from gaincell.hardware import HardwareParameters

BASE = GainCellConfig.named("leroux2025")


def test_lists_doublings_and_ranges() -> None:
    space = Space.of({"output_levels": "16,32,null", "subtile_columns": "64:1000", "clock_hz": "1e8:1e9"}, BASE)
    levels, columns, clock = space.axes
    assert levels.values == (16, 32, None)
    assert columns.values == (64, 128, 256, 512)
    assert (clock.home, clock.span) == ("hardware", (1e8, 1e9))
    assert space.size is None
    assert Space.of({"output_levels": [16, 32], "kv_sharing": "copied,in_turn"}, BASE).size == 4


def test_a_value_is_as_its_field_holds_it() -> None:
    (levels, clock) = Space.of({"output_levels": "16.0,32,null", "clock_hz": "1000000000,2e9"}, BASE).axes
    assert list(map(repr, levels.values)) == ["16", "32", "None"]
    assert list(map(repr, clock.values)) == ["1000000000.0", "2000000000.0"]


def test_values_become_a_design_point_and_hardware() -> None:
    space = Space.of({"output_levels": "16", "query_sign": "unsigned,differential", "array_pairs": "null,12"}, BASE)
    point, parameters = space.design({"output_levels": 16, "query_sign": "differential", "array_pairs": 12})
    assert point == BASE.replace(output_levels=16, query_sign="differential")
    assert parameters == HardwareParameters(array_pairs=12)
    assert Space.from_dict(space.to_dict()) == space


def test_a_study_holds_its_cells(tmp_path: Path) -> None:
    """What a path stands for is in the space, so that whoever joins needs no such file."""
    cell = tmp_path / "mine.yaml"
    cell.write_text(
        "name: mine\nlaw: {coefficients: [0, 19.3], unit: model, source: s}\nretention: {tau: 5, unit: ms, source: s}\n"
    )
    kept = Space.of({"cell": f"leroux2025,{cell}"}, BASE).to_dict()
    cell.unlink()
    assert Space.from_dict(kept).design({"cell": str(cell)})[0].cell.name == "mine"


def test_cells_are_compared_each_with_its_own_leak() -> None:
    """The base's leak is that of its own cell; whoever varies it has it."""
    cells = "leroux2025,ito-2t0c"
    own = Space.of({"cell": cells}, BASE)
    points = [own.design({"cell": name})[0].for_layers(12) for name in cells.split(",")]
    assert [point.leak_per_token for point in points] == [None, None]
    assert points[0].leak == pytest.approx(1.6e-4, rel=0.05)
    assert points[1].leak < 1e-8
    assert "leak_per_token is null, in place of the 0.00016 of 'leroux2025'" in own.notes[0]
    both = Space.of({"cell": cells, "leak_per_token": "1.6e-4"}, BASE)
    assert both.design({"cell": "ito-2t0c", "leak_per_token": 1.6e-4})[0].leak == 1.6e-4
    assert both.notes == Space.of({"output_levels": "8,16"}, BASE).notes == []


def test_every_number_of_both_can_be_varied() -> None:
    from gaincell.hardware.sweep import numbers_of

    assert set(numbers_of(BASE, HardwareParameters())) <= set(fields_of())


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({}, ["nothing is varied"]),
        ({"output_level": "16"}, ["'output_level'", "did you mean 'output_levels'?"]),
        ({"digital_layer": "0:6"}, ["'digital_layer'"]),
        ({"name": "a,b"}, ["'name'"]),
        ({"components": "a"}, ["'components'"]),
        ({"output_levels": ""}, ["output_levels", "no values"]),
        ({"output_levels": "16,16"}, ["twice"]),
        ({"output_levels": "16,16.0"}, ["output_levels", "twice"]),
        ({"output_levels": [16, 16.0]}, ["twice"]),
        ({"clock_hz": "1000000000,1e9"}, ["clock_hz", "twice"]),
        ({"mismatch_seed": "true,1"}, ["twice"]),
        ({"output_levels": "64:16"}, ["output_levels=64:16", "empty"]),
        ({"output_levels": "16:16"}, ["empty"]),
        ({"output_levels": "0:16"}, ["empty"]),
        ({"output_levels": "a:16"}, ["two numbers"]),
        ({"output_levels": "1.5:16"}, ["whole"]),
        ({"clock_hz": "1e9:1e8"}, ["empty"]),
        ({"cell": "no_such_cell.yaml"}, ["no_such_cell.yaml"]),
    ],
)
def test_refused(vary: dict[str, str], words: list[str]) -> None:
    with pytest.raises(InputError) as told:
        Space.of(vary, BASE)
    assert all(word in str(told.value) for word in words), told.value


def test_a_space_without_a_valid_point_is_refused() -> None:
    with pytest.raises(InputError, match="no design point of this space is valid; the first says: design point"):
        Space.of({"window": "100,200"}, BASE).check()


def test_a_space_is_tried_all_over_before_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is valid may lie in the last half of a large space, or inside a range and at neither end."""
    other = {"output_levels": [*range(2, 102)], "stored_levels": [*range(2, 62)]}
    Space.of({"window": "1000,1024", **other}, BASE).check()
    with pytest.raises(InputError, match="none of the 4,096 design points that were tried is valid; the first says"):
        Space.of({"window": "100,200", **other}, BASE).check()
    ranged, design = Space.of({"zero_v": "0.1:0.8"}, BASE), Space.design

    def inside(self: Space, values: dict[str, float]) -> object:
        if not 0.3 < values["zero_v"] < 0.5:
            raise InputError("no.")
        return design(self, values)

    monkeypatch.setattr(Space, "design", inside)
    ranged.check()
