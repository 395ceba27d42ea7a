"""GainCellConfig: round trips, refusals, and what it derives."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gaincell import GainCellConfig, InputError
from gaincell.cell import Cell, load_cell

CELL_FILE = """\
name: mine
law: {coefficients: [1.0e-7, 2.0e-6], unit: C/s, source: a bench}
retention: {tau: 20, unit: us, source: a bench}
"""


def assert_one_sentence(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert ". " not in message
    for word in words:
        assert word in message


def positive(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, allow_nan=False)


coefficients = st.floats(0, 1e3).map(lambda c: c if c > 1e-6 else 0.0)
cells = st.sampled_from(["leroux2025", "leroux2025-linear"]).map(load_cell) | st.builds(
    lambda name, description, constant, slopes, unit, tau, tau_unit: Cell.model_validate(
        {
            "name": name,
            "description": description,
            "law": {"coefficients": [constant, *slopes], "unit": unit, "source": "a test"},
            "retention": {"tau": tau, "unit": tau_unit, "source": "a test"},
        }
    ),
    name=st.text(min_size=1),
    description=st.text(),
    constant=coefficients,
    slopes=st.lists(coefficients, min_size=1, max_size=11).filter(any),
    unit=st.sampled_from(["model", "C/s"]),
    tau=positive(1e-6, 1e6),
    tau_unit=st.sampled_from(["s", "ms", "us"]),
)


@st.composite
def configs(draw: st.DrawFn) -> GainCellConfig:
    columns = draw(st.integers(1, 256))
    top = draw(positive(0.1, 10))
    stored_levels = draw(st.none() | st.integers(2, 256))
    cell = draw(cells)
    increasing = cell.name.startswith("leroux2025")
    return GainCellConfig(
        name=draw(st.text()),
        window=columns * draw(st.integers(1, 64)),
        subtile_columns=columns,
        subtile_rows=draw(st.integers(1, 1024)),
        query_levels=draw(st.none() | st.integers(2, 1 << 16)),
        stored_levels=stored_levels,
        output_levels=draw(st.none() | st.integers(2, 1 << 16)),
        readout=draw(st.sampled_from(["reference", "counter"])),
        stored_max_v=top,
        zero_v=top * draw(st.floats(0.01, 0.99)),
        score_saturation=draw(positive(0, 1e6)),
        output_scale=draw(positive(1e-20, 1e6)),
        cell=cell,
        pulse_max_s=draw(positive(0, 1)),
        layer_latency_s=draw(positive(0, 1)),
        token_period_s=draw(st.none() | positive(0, 1)),
        leak_per_token=draw(st.none() | st.floats(0, 1)),
        gradient=draw(st.sampled_from(["linear-law", "true-law"])),
        surrogate_slope=draw(positive(0, 1e6)),
        mismatch_seed=draw(st.none() | st.integers(0, 2**63 - 1)),
        mismatch_gain=draw(st.floats(0, 1)),
        mismatch_zero_v=draw(st.floats(0, 1)),
        score_noise=draw(st.floats(0, 10)),
        readout_noise=draw(st.floats(0, 10)),
        noise_seed=draw(st.none() | st.integers(0, 2**63 - 1)),
        normaliser=draw(st.sampled_from(["none", "ideal", "column"])),
        normaliser_ranges=draw(st.lists(positive(0, 1e6), min_size=1, max_size=4, unique=True).map(sorted)),
        normaliser_epsilon=draw(positive(0, 1e6)),
        query_sign=draw(st.sampled_from(["unsigned", "differential", "offset_binary"])),
        storage=draw(st.sampled_from(["uniform", "linearised"])) if stored_levels and increasing else "uniform",
    )


@given(config=configs())
def test_json_and_yaml_read_back_equal(config: GainCellConfig, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    for name, text in (("point.json", config.to_json()), ("point.yaml", config.to_yaml())):
        (folder / name).write_text(text, "utf-8")
        again = GainCellConfig.load(folder / name)
        assert again == config
        assert hash(again) == hash(config)
        assert again.cell.model_law == config.cell.model_law


@given(config=configs())
def test_replace_with_nothing_is_equal(config: GainCellConfig) -> None:
    assert config.replace() == config


def test_every_field_has_unit_source_and_meaning() -> None:
    for name, field in GainCellConfig.model_fields.items():
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["unit"], name
        assert field.json_schema_extra["source"], name
        assert field.description, name
        assert not field.is_required(), name


def test_frozen() -> None:
    config = GainCellConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.window = 512
    assert config.window == 1024


def test_shipped_points_are_the_published_one_but_for_what_they_name() -> None:
    default = GainCellConfig(leak_per_token=1.6e-4)
    assert GainCellConfig.names() == ["extended", "leroux2025", "leroux2025-linear"]
    assert GainCellConfig.named("leroux2025") == default.replace(name="leroux2025")
    assert GainCellConfig.named("leroux2025-linear") == default.replace(
        name="leroux2025-linear", cell="leroux2025-linear"
    )
    assert GainCellConfig.named("extended") == default.replace(
        name="extended",
        output_scale=10.0,
        normaliser="column",
        query_sign="differential",
        storage="linearised",
        equalisation=True,
        score_preset=True,
        sinks="digital",
        gradient="true-law",
    )
    assert GainCellConfig.load("leroux2025") == GainCellConfig.named("leroux2025")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"widow": 512}, ["unknown field 'widow'"]),
        ({"self": 1}, ["unknown field 'self'"]),
        ({"window": -64}, ["'window'", "-64"]),
        ({"window": 0}, ["'window'"]),
        ({"window": 2**30}, ["'window'"]),
        ({"window": 100}, ["window 100", "subtile_columns 64", "use 64 or 128."]),
        ({"window": 10}, ["window 10", "use 64."]),
        ({"window": "wide"}, ["'window'", "'wide'"]),
        ({"subtile_columns": 0}, ["'subtile_columns'"]),
        ({"query_levels": 1}, ["'query_levels'", "2"]),
        ({"stored_levels": 1}, ["'stored_levels'", "2"]),
        ({"output_levels": 1}, ["'output_levels'", "2"]),
        ({"readout": "analog"}, ["'readout'", "'counter'"]),
        ({"stored_max_v": math.nan}, ["'stored_max_v'", "nan"]),
        ({"zero_v": 0.9}, ["zero_v 0.9", "stored_max_v 0.9"]),
        ({"leak_per_token": -1e-4}, ["'leak_per_token'"]),
        ({"normaliser_ranges": ()}, ["'normaliser_ranges'", "one at least"]),
        ({"normaliser_ranges": (0.0, 4.0)}, ["'normaliser_ranges'", "positive"]),
        ({"normaliser_ranges": (4.0, 4.0)}, ["'normaliser_ranges'", "increasing"]),
        ({"normaliser_ranges": (4.0, math.inf)}, ["'normaliser_ranges'", "finite"]),
        ({"normaliser_ranges": (math.nan,)}, ["'normaliser_ranges'", "nan"]),
        ({"token_period_s": 0}, ["'token_period_s'"]),
        ({"cell": "leroux2026"}, ["'cell'", "leroux2025"]),
        ({"cell": "two\nlines"}, ["'cell'"]),
        ({"cell": "x" * 5000}, ["'cell'"]),
        ({"cell": 3}, ["'cell'"]),
        ({"cell": {}}, ["'cell.name'", "missing"]),
        ({"storage": "linearised", "stored_levels": None}, ["storage", "stored_levels"]),
    ],
)
def test_refused_in_one_sentence(fields: dict[str, object], words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        GainCellConfig(**fields)
    assert_one_sentence(error, *words)
    with pytest.raises(InputError) as error:
        GainCellConfig().replace(**fields)
    assert_one_sentence(error, *words)


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize(
    "field", [name for name, field in GainCellConfig.model_fields.items() if "float" in str(field.annotation)]
)
def test_no_number_may_be_infinite_or_nan(field: str, value: float) -> None:
    with pytest.raises(InputError) as error:
        GainCellConfig(**{field: value})
    assert_one_sentence(error, f"'{field}'")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", b"window: 512\nwindou: 3\n", ["unknown field 'windou'"]),
        ("a.yaml", b"1: 2\n", ["a.yaml", "unknown field 1"]),
        ("a.yaml", b"- 1\n", ["a.yaml", "mapping"]),
        ("a.yaml", b"", ["a.yaml", "mapping"]),
        ("a.yaml", b"window: [1\n", ["a.yaml", "not valid YAML"]),
        ("a.yaml", b"name: 2024-99-99\n", ["a.yaml", "not valid YAML"]),
        ("a.yaml", b"window: !!bool maybe\n", ["a.yaml", "not valid YAML"]),
        ("a.yaml", b"[" * 5000, ["a.yaml", "not valid YAML"]),
        ("a.yaml", b"name: \xe9t\xe9\n", ["a.yaml", "UTF-8"]),
        ("a.yaml", b"name: \x00\n", ["a.yaml", "not valid YAML"]),
        ("a.yaml", b"window: &a [*a]\n", ["'window'"]),
        ("a.json", b"{", ["a.json", "not valid JSON"]),
        ("a.json", b"[]", ["a.json", "mapping"]),
        ("a.json", b'{"a":' * 100_000, ["a.json", "not valid JSON"]),
        ("a.json", b'{"window": NaN}', ["'window'", "nan"]),
        ("a.json", b"\xff\xfe{}", ["a.json", "UTF-8"]),
    ],
)
def test_file_refused_in_one_sentence(name: str, text: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(InputError) as error:
        GainCellConfig.load(tmp_path / name)
    assert_one_sentence(error, *words)


def test_missing_file_and_unknown_name_tell_those_that_ship(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, "x" * 5000):
        with pytest.raises(InputError) as error:
            GainCellConfig.load(path)
        assert_one_sentence(error, str(path)[:40], "leroux2025-linear")
    with pytest.raises(InputError) as error:
        GainCellConfig.named("leroux")
    assert_one_sentence(error, "'leroux'", "leroux2025-linear")


def test_yaml_that_asks_for_python_objects_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    path = tmp_path / "a.yaml"
    path.write_text(f"name: !!python/object/apply:os.mkdir ['{proof}']\n")
    with pytest.raises(InputError) as error:
        GainCellConfig.load(path)
    assert_one_sentence(error, str(path), "python/object/apply")
    assert not proof.exists()


def test_huge_nested_value_is_told_shortly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "a.yaml").write_text("\n".join([*lines, "window: *a11"]))
    with pytest.raises(InputError) as error:
        GainCellConfig.load(tmp_path / "a.yaml")
    assert_one_sentence(error, "'window'")
    assert len(str(error.value).replace(str(tmp_path), "")) < 200


def test_cell_by_path_and_by_content(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(CELL_FILE)
    config = GainCellConfig.named("leroux2025").replace(cell=str(path))
    assert config.cell == load_cell(path)
    assert config.cell.name == "mine"
    assert GainCellConfig(cell=path).cell == config.cell
    assert GainCellConfig(cell=config.cell.model_dump()).cell == config.cell


def test_leak_follows_from_layers_and_retention() -> None:
    config = GainCellConfig(leak_per_token=None)
    assert config.for_layers(12).leak == pytest.approx(1.56e-4, rel=1e-12)
    assert config.for_layers(30).leak == pytest.approx(3.9e-4, rel=1e-12)
    assert config.for_layers(12).token_period_s == pytest.approx(0.78e-6, rel=1e-12)


def test_leak_that_is_set_outright_wins_and_a_set_period_is_kept() -> None:
    assert GainCellConfig.named("leroux2025").for_layers(30).leak == 1.6e-4
    assert GainCellConfig(leak_per_token=0, token_period_s=1).leak == 0
    assert GainCellConfig(token_period_s=1e-6).for_layers(30).token_period_s == 1e-6


def test_leak_without_period_is_refused() -> None:
    with pytest.raises(InputError) as error:
        _ = GainCellConfig().leak
    assert_one_sentence(error, "leak_per_token", "token_period_s")


def test_tiles() -> None:
    assert GainCellConfig().tiles == 16
    assert GainCellConfig(window=96, subtile_columns=32).tiles == 3


def test_linearised_storage_needs_an_increasing_law() -> None:
    falling = {
        "name": "bend",
        "law": {"coefficients": [0, 10, -20], "unit": "model", "source": "a test"},  # falls above 0.25 V
        "retention": {"tau": 5, "unit": "ms", "source": "a test"},
    }
    with pytest.raises(InputError) as error:
        GainCellConfig(storage="linearised", cell=falling)
    assert_one_sentence(error, "storage", "increases")
    assert GainCellConfig(storage="linearised", cell=falling, stored_max_v=0.6).storage == "linearised"


@pytest.mark.parametrize("scale", [1e-300, 5e-324, 1e300])
def test_an_output_scale_that_float32_cannot_hold_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="output_scale"):
        GainCellConfig(output_scale=scale)


def test_a_sentence_keeps_its_beginning_and_its_end() -> None:
    for middle in ("x" * 1000, "x " * 1000):
        sentence = str(InputError(f"file {middle} is damaged;\n fetch it again."))
        assert 100 < len(sentence) <= 300
        assert sentence.startswith("file x")
        assert "..." in sentence
        assert sentence.endswith("x is damaged; fetch it again.")


def test_a_file_that_says_how_sums_used_to_be_taken_is_read() -> None:
    point = GainCellConfig.named("leroux2025")
    assert GainCellConfig(**point.model_dump(), arithmetic="float") == point
    with pytest.raises(InputError) as error:
        GainCellConfig(arithmetic="integer")
    assert_one_sentence(error, "integer", "arithmetic")
