"""Cell files: what they give, and how unusable ones are refused."""

from pathlib import Path

import pytest

from gaincell import InputError
from gaincell.cell import Cell, Retention, cell_names, load_cell, save_cell

GOOD = """\
name: mine
law:
  coefficients: [0.0, 4.0e-6]
  unit: C/s
  source: a bench
retention:
  tau: 20
  unit: us
  source: a bench
"""


@pytest.fixture
def cell_file(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def test_shipped_cells() -> None:
    assert cell_names() == ["ito-2t0c", "leroux2025", "leroux2025-linear", "pmos-3t"]
    for name in ("leroux2025", "leroux2025-linear"):
        cell = load_cell(name)
        assert cell.name == name
        assert cell.law.unit == "model"
        assert cell.coulomb_per_second is None
        assert cell.model_law == cell.law
        assert cell.retention.tau_s == pytest.approx(5e-3)


def test_a_measured_cell_keeps_its_charge(cell_file) -> None:
    cell = load_cell(cell_file(GOOD))
    assert cell.model_law(0.45) == pytest.approx(10.313, rel=1e-12)
    # 4e-6 C/(s V) times 0.45 V is what 10.313 model units stand for
    assert cell.coulomb_per_second == pytest.approx(4e-6 * 0.45 / 10.313, rel=1e-12)
    assert cell.law.unit == "C/s"
    assert cell.retention.tau_s == pytest.approx(20e-6)
    assert Cell.model_validate(cell.model_dump()) == cell


ONE_SIGN = GOOD.replace("[0.0, 4.0e-6]", "[2.0e-6, 4.0e-6, 3.0e-6]")


def test_what_is_left_at_its_default_is_not_written(tmp_path: Path, cell_file) -> None:
    """Files of push-pull cells that decay to their zero are those that there were before there was a choice."""
    save_cell(load_cell(cell_file(GOOD)), tmp_path / "push_pull.yaml")
    written = (tmp_path / "push_pull.yaml").read_text()
    assert "polarity" not in written
    assert "ends_at_v" not in written
    own = load_cell(cell_file("polarity: pair\n" + ONE_SIGN.replace("tau: 20", "tau: 20\n  ends_at_v: -0.45")))
    save_cell(own, tmp_path / "pair.yaml")
    assert load_cell(tmp_path / "pair.yaml") == own
    assert (own.polarity, own.retention.ends_at_v, own.cells_per_value) == ("pair", -0.45, 2)


@pytest.mark.parametrize(
    ("polarity", "law", "words"),
    [
        ("both", "[2.0e-6, 4.0e-6]", ["'polarity'", "'push_pull', 'pair' or 'reference'"]),
        ("pair", "[0.0, 4.0e-6]", ["'pair'", "law of one sign", "use push_pull"]),
        ("reference", "[-1.0e-6, 4.0e-6]", ["'reference'", "law of one sign"]),
        ("pair", "[1.0e-6, 0.0, 4.0e-6]", ["'pair'", "leaves nothing"]),
        ("pair", "[2.0e-6, -4.0e-6]", ["positive", "0.45"]),
    ],
)
def test_a_polarity_that_a_law_does_not_serve_is_refused(cell_file, polarity: str, law: str, words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        load_cell(cell_file(f"polarity: {polarity}\n" + GOOD.replace("[0.0, 4.0e-6]", law)))
    assert all(word in str(refused.value) for word in words), refused.value
    assert str(refused.value).count(".yaml") == 1


@pytest.mark.parametrize(("unit", "seconds"), [("s", 2.0), ("ms", 2e-3), ("us", 2e-6)])
def test_retention_units(unit: str, seconds: float) -> None:
    assert Retention.model_validate({"tau": 2, "unit": unit, "source": "a test"}).tau_s == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[0.0, 4.0e-6]", "[0.0, .nan]", ["'law.coefficients'", "finite"]),
        ("[0.0, 4.0e-6]", "[0.0, .inf]", ["'law.coefficients'", "finite"]),
        ("[0.0, 4.0e-6]", "[1.0]", ["'law.coefficients'"]),
        ("[0.0, 4.0e-6]", "[1.0, 0.0]", ["'law.coefficients'", "stored voltage"]),
        ("[0.0, 4.0e-6]", "[0.0, -4.0e-6]", ["positive"]),
        ("[0.0, 4.0e-6]", "steep", ["'law.coefficients'"]),
        ("[0.0, 4.0e-6]", "[0.0, steep]", ["'law.coefficients.1'"]),
        ("  unit: C/s\n", "", ["'law.unit'", "missing"]),
        ("  unit: us\n", "", ["'retention.unit'", "missing"]),
        ("C/s", "pC", ["'law.unit'", "'C/s'"]),
        ("us\n", "hours\n", ["'retention.unit'"]),
        ("  source: a bench\nretention", "retention", ["'law.source'", "missing"]),
        ("tau: 20", "tau: -1", ["'retention.tau'"]),
        ("tau: 20", "tau: .nan", ["'retention.tau'"]),
        ("tau: 20", "tau: .inf", ["'retention.tau'"]),
        ("name: mine\n", "", ["'name'", "missing"]),
        ("name: mine", "name: mine\ncolour: red", ["unknown field 'colour'"]),
        ("name: mine", "1: mine", ["unknown field 1"]),
        ("name: mine", "name: [", ["not valid YAML"]),
    ],
)
def test_refused_in_one_sentence_that_names_file_and_field(old: str, new: str, words: list[str], cell_file) -> None:
    assert old in GOOD
    path = cell_file(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        load_cell(path)
    message = str(error.value)
    for word in (str(path), *words):
        assert word in message
    assert "\n" not in message
    assert message.endswith(".")


def test_not_utf8(cell_file) -> None:
    path = cell_file(GOOD.encode("utf-16"))
    with pytest.raises(InputError, match=r"mine\.yaml is not UTF-8 text; convert it first\.$"):
        load_cell(path)


def test_missing_file_names_the_shipped_cells(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nofile\.yaml' is no file and no shipped cell \(.*leroux2025, .*\)"):
        load_cell(tmp_path / "nofile.yaml")


def test_a_folder_is_no_cell(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file and no shipped cell"):
        load_cell(tmp_path)


def test_python_tags_are_refused_and_run_nothing(cell_file, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    path = cell_file(GOOD.replace("mine", f"!!python/object/apply:os.mkdir ['{proof}']", 1))
    with pytest.raises(InputError, match="not valid YAML"):
        load_cell(path)
    assert not proof.exists()


def test_a_copy_with_another_law_computes_with_it() -> None:
    cell = load_cell("leroux2025")
    assert cell.model_law(0.3) != 0  # which is now cached
    linear = load_cell("leroux2025-linear")
    assert cell.model_copy(update={"law": linear.law}).model_law == linear.model_law


FULL = (
    GOOD
    + """\
  table:
    time: [0, 10, 20]
    stored: [[0.45, 0.2, 0.1], [-0.45, -0.3, -0.2]]
circuit:
  charge_to_pulse:
    {gain: 1.01, offset_s: 1.0e-10, nonlinearity: 0.001, below_zero_s: 0, saturated_s: 1.5e-8, source: a bench}
"""
)


@pytest.mark.parametrize("text", [GOOD, FULL, GOOD + "circuit: {}\n"], ids=["plain", "with everything", "with nothing"])
def test_a_saved_cell_is_read_back(text: str, cell_file, tmp_path: Path) -> None:
    cell = load_cell(cell_file(text))
    save_cell(cell, tmp_path / "again.yaml")
    assert load_cell(tmp_path / "again.yaml") == cell
    assert Cell.model_validate(cell.model_dump()) == cell
    assert Cell.model_validate_json(cell.model_dump_json()) == cell


def test_what_a_circuit_adds_leaves_plain_cells_as_they_were(cell_file) -> None:
    fields = load_cell(cell_file(GOOD)).model_dump()
    assert set(fields) == {"name", "description", "law", "retention"}
    assert set(fields["retention"]) == {"tau", "unit", "source"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[0, 10, 20]", "[0, 20, 10]", "times must increase"),
        ("0.2, 0.1]", "0.2]", "one voltage for each time"),
        ("gain: 1.01", "gain: -1", "gain"),
        ("gain: 1.01", "gain: 1.01, gane: 2", "gane"),
    ],
)
def test_unusable_figures_are_refused(cell_file, old: str, new: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_cell(cell_file(FULL.replace(old, new)))
