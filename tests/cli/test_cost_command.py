"""`gaincell cost`: sweeps, files, the whole token, activity, and what it refuses."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_tools import Run

from gaincell.config import GainCellConfig
from gaincell.hardware import GPT2, Activity, Workload, estimate

PAPER = GainCellConfig.named("leroux2025")
SMOLLM2 = Workload.uniform(30, 9, 3, 64)


def test_json_is_the_estimate(gaincell: Run) -> None:
    found = json.loads(gaincell("cost", "gpt2", "--json").out)
    cost = estimate(GPT2, PAPER)
    assert found["energy_j"] == pytest.approx(cost.energy_j)
    assert [phase["name"] for phase in found["phases"]] == [phase.name for phase in cost.timeline.phases]
    assert {row["name"]: row["value"] for row in found["rows"]}["energy, one head"] == pytest.approx(
        cost.per_head.energy_j * 1e9
    )


def test_an_adapter_is_estimated_at_its_own_design_point(gaincell: Run) -> None:
    found = json.loads(gaincell("cost", "extended", "--json").out)
    assert found["design_point"] == "extended"
    assert found["energy_j"] == pytest.approx(estimate(SMOLLM2, GainCellConfig.named("extended")).energy_j)


def test_a_sweep_doubles_and_says_which_values_cannot_be(gaincell: Run) -> None:
    rows = json.loads(gaincell("cost", "gpt2", "--sweep", "window=1024:8192", "--json").out)["rows"]
    assert [row["window"] for row in rows] == [1024, 2048, 4096, 8192]
    assert "beyond the limit of 1" in rows[-1]["refused"]
    assert rows[1]["energy_j"] == pytest.approx(estimate(GPT2, PAPER.replace(window=2048)).energy_j)
    text = gaincell("cost", "gpt2", "--sweep", "window=1024:8192", "--refresh").out
    assert "refused" not in text
    assert "8,192" in text


def test_two_numbers_are_swept_in_all_pairs_and_shown_on_a_page(tmp_path: Path, gaincell: Run) -> None:
    pair = ["--sweep", "window=1024:2048", "--sweep", "clock_hz=1e9:2e9"]
    ended = gaincell("cost", "gpt2", *pair, "--json", "--out", str(tmp_path / "a"))
    found = json.loads(ended.out)
    assert found["sweep"] == ["window", "clock_hz"]
    assert [(row["window"], row["clock_hz"]) for row in found["rows"]] == [
        (1024, 1e9),
        (1024, 2e9),
        (2048, 1e9),
        (2048, 2e9),
    ]
    assert found["rows"][2]["energy_j"] == pytest.approx(estimate(GPT2, PAPER.replace(window=2048)).energy_j)
    assert "sweep.html" in ended.err
    assert "window 2048, clock_hz 2e+09" in (tmp_path / "a" / "sweep.html").read_text("utf-8")
    text = gaincell("cost", "gpt2", "--sweep", "window=4096:8192", "--sweep", "clock_hz=1e9:2e9").out
    assert "window 8192, clock_hz 1e+09: window 8192 at a token period" in text


def test_files(tmp_path: Path, gaincell: Run) -> None:
    ended = gaincell("cost", "gpt2", "--out", str(tmp_path / "a"))
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"cost.html", "cost.json", "cost.csv", "energy.svg", "timeline.svg"}
    assert all(name in ended.err for name in names)
    assert "Attention of gpt2" in (tmp_path / "a" / "cost.html").read_text("utf-8")
    with (tmp_path / "a" / "cost.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert float(rows["energy, one head"]["value"]) == pytest.approx(estimate(GPT2, PAPER).per_head.energy_j * 1e9)
    assert (tmp_path / "a" / "energy.svg").read_text("utf-8").startswith("<svg")


def test_json_has_the_rows_and_notes_of_the_options_too(tmp_path: Path, gaincell: Run) -> None:
    asked = ("--batch", "8", "--rest", "h100", "--refresh")
    shown = json.loads(gaincell("cost", "gpt2", *asked, "--json", "--out", str(tmp_path)).out)
    assert json.loads((tmp_path / "cost.json").read_text("utf-8")) == shown
    with (tmp_path / "cost.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [row["name"] for row in shown["rows"]]
    names = [row["name"] for row in shown["rows"]]
    assert {"tokens per second and watt", "whole token, times faster"} < set(names)
    assert any("An operation is one multiplication" in note for note in shown["notes"])


def test_activity_from_a_file(tmp_path: Path, gaincell: Run) -> None:
    known = Activity.reference(PAPER)
    quiet = replace(known, value_charge=known.value_charge / 2)
    (tmp_path / "activity.json").write_text(json.dumps(quiet.to_dict()))
    found = json.loads(gaincell("cost", "gpt2", "--activity", str(tmp_path / "activity.json"), "--json").out)
    assert found["energy_j"] == pytest.approx(estimate(GPT2, PAPER, None, quiet).energy_j)
    assert found["energy_j"] < estimate(GPT2, PAPER).energy_j


def test_parts_of_ones_own(tmp_path: Path, gaincell: Run) -> None:
    path = tmp_path / "parts.yaml"
    path.write_text("components:\n  dac: {action: a value, energy_j: 0 pJ, kind: assumption, source: a free DAC}\n")
    found = json.loads(gaincell("cost", "gpt2", "--hardware", str(path), "--json").out)
    assert found["energy_components_j"]["DACs and lines"]["dac"] == 0


def test_the_whole_token_sets_the_period(gaincell: Run) -> None:
    found = json.loads(gaincell("cost", "gpt2", "--rest", "h100", "--refresh", "--json").out)
    rows = {row["name"]: row["value"] for row in found["rows"]}
    assert rows["whole token, attention in gain cells"] == pytest.approx(found["token_period_s"] * 1e6)
    assert found["token_period_s"] > 50e-6  # the weights of GPT-2 at 3.35 TB/s
    assert found["refreshes_per_token"] > 0
    assert rows["whole token, times faster"] < rows["whole token, times faster if attention took no time"]


def test_activity_beside_the_rest_is_compared_at_the_whole_tokens_period(tmp_path: Path, gaincell: Run) -> None:
    """Leak and refreshes go with the period; activity as assumed by default takes what is assumed by default."""
    path, parts = tmp_path / "activity.json", tmp_path / "parts.yaml"
    path.write_text(json.dumps(Activity.reference(PAPER).to_dict()))
    leaky = "{action: a, energy_j: 0 J, static_w: 1 nW, kind: assumption, source: s}"
    parts.write_text(f"components: {{charge_to_pulse: {leaky}}}\n")
    arguments = ("--rest", "h100", "--refresh", "--activity", str(path), "--hardware", str(parts), "--json")
    found = json.loads(gaincell("cost", "gpt2", *arguments).out)
    rows = {row["name"]: row["value"] for row in found["rows"]}
    assert rows["energy, all layers, with the activity assumed by default"] == pytest.approx(found["energy_j"] * 1e9)


def test_digital_and_accelerators_stand_beside_it(tmp_path: Path, gaincell: Run) -> None:
    found = json.loads(gaincell("cost", "gpt2", "--json").out)["opponents"]
    assert [each["name"] for each in found] == [
        "digital at 28 nm, cache in SRAM",
        "digital at 28 nm, cache in DRAM",
        "H100 SXM",
    ]
    assert found[0]["energy_ratio"] == [pytest.approx(10.9, rel=0.01)] * 2
    assert found[2]["energy_ratio"][0] < found[2]["energy_ratio"][1]
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "{name: mine, flop_per_s: 1.0e+18, precision: int4, bytes_per_s: 1.0e+16, memory_bytes: 8.0e+9, "
        "board_power_w: 1 kW, flop_j: 0 pJ, byte_j: 0.01 pJ, source: a wish}\n"
    )
    text = gaincell("cost", "gpt2", "--against", "tpuv4", "--against", str(mine), "--out", str(tmp_path / "out")).out
    assert "TPU v4" in text
    assert "H100" not in text
    assert "Who takes less energy, gain cells or mine, is open" in text
    kept = json.loads((tmp_path / "out" / "cost.json").read_text())["opponents"]
    assert kept[-1]["energy_winner"] is None
    small = gaincell("cost", "gpt2", "--refresh", "--config", str(_window(tmp_path, 65536)), "--against", "jetson")
    assert "cannot hold this cache" not in small.out
    large = gaincell(
        "cost", "llama3-70b", "--refresh", "--config", str(_window(tmp_path, 65536)), "--against", "jetson"
    )
    assert "One Jetson Nano cannot hold this cache: its figures are of a fiction." in large.out


def _window(folder: Path, window: int) -> Path:
    path = folder / "window.yaml"
    path.write_text(PAPER.replace(window=window).to_yaml())
    return path


def test_where_rated_power_and_idle_free_energy_disagree_the_whole_token_says_so(tmp_path: Path, gaincell: Run) -> None:
    """What refreshing takes is more than a GPU's bytes alone, and less than it takes at rated power."""
    long = _window(tmp_path, 131072)
    found = gaincell("cost", "llama3-8b", "--config", str(long), "--refresh", "--rest", "h100")
    assert "Whether gain cells save energy over the whole token is open" in found.out
    agreed = gaincell("cost", "gpt2", "--refresh", "--rest", "h100")
    assert "is open" not in agreed.out


def test_a_batch_says_what_it_gives_per_watt_and_area(tmp_path: Path, gaincell: Run) -> None:
    found = json.loads(gaincell("cost", "gpt2", "--batch", "64", "--json").out)
    rows = {row["name"]: row["value"] for row in found["rows"]}
    assert rows["64 users, generating: all tokens"] == pytest.approx(64 / found["token_period_s"])
    assert rows["tokens per second and watt"] == pytest.approx(1 / found["energy_j"])
    beside = json.loads(gaincell("cost", "gpt2", "--batch", "64", "--rest", "h100", "--refresh", "--json").out)
    assert beside["token_period_s"] > found["token_period_s"]
    text = gaincell("cost", "gpt2", "--batch", "64").out
    assert "An operation is one multiplication or one addition" in text
    (tmp_path / "few.yaml").write_text("array_pairs: 12\n")
    gaincell("cost", "gpt2", "--batch", "2", "--rest", "h100", "--hardware", tmp_path / "few.yaml").assert_refused(
        "a batch (--batch) beside the rest of the model (--rest) is of users with arrays of their own"
    )


PART = "{action: a, energy_j: %s, kind: assumption, source: s}"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--sweep", "window"], "is not NAME=FROM:TO"),
        (["--sweep", "window=8:a"], "is not two numbers"),
        (["--sweep", "window=0:4"], "go from a number above 0"),
        (["--sweep", "cell=1:2"], "'cell' is no number of this design"),
        (["--sweep", "window=1:32"], "no value works; the first says: design point: window 1 is not a multiple"),
        (["--sweep", "window=64:128", "--rest", "h100"], "--sweep goes with"),
        (["--sweep", "window=64:128", "--sweep", "window=64:128"], "of two different numbers"),
        ([part for name in ("window", "clock_hz", "node_m") for part in ("--sweep", f"{name}=1:2")], "--sweep"),
        (["--rest", "h100"], "lets a token grow"),
        (
            ["--rest", "tpu"],
            "accelerator 'tpu' is unknown; choose one of h100, h200, b200, a100, rtx4090, jetson, tpuv4",
        ),
        (["--against", "h99"], "accelerator 'h99' is unknown; choose one of h100"),
        (["--against", "none.yaml"], "none.yaml"),
        (["--sweep", "window=64:128", "--against", "h100"], "--sweep goes with"),
        (["--activity", "speeches"], "a shape without weights"),
        (["--activity", "none.json"], "none.json"),
        (["--compare", "none.json"], "none.json"),
        (["--hardware", "none.yaml"], "none.yaml"),
    ],
)
def test_bad_input_is_one_sentence_and_no_number(arguments: list[str], complaint: str, gaincell: Run) -> None:
    gaincell("cost", "gpt2", *arguments).assert_refused(complaint)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("components: {adc: " + PART % "1 pJ" + "}", "unknown field 'components.adc'"),
        ("components: {dac: " + PART % "-1 pJ" + "}", "field 'components.dac.energy_j' is"),
        ("components: {dac: " + PART % "1 ns" + "}", "write a figure in joule"),
        ("components: {dac: {action: a, kind: assumption, source: s}}", "field 'components.dac.energy_j' is missing"),
        ("node_m: 7 nm", "component 'cell' is known at 28 nm and 0.9 V and has no scaling rule to 7 nm"),
    ],
)
def test_bad_parts_are_one_sentence(tmp_path: Path, text: str, complaint: str, gaincell: Run) -> None:
    path = tmp_path / "parts.yaml"
    path.write_text(text)
    gaincell("cost", "gpt2", "--hardware", path).assert_refused(complaint)


def test_export_writes_for_another_tool_and_needs_a_folder(tmp_path: Path, gaincell: Run) -> None:
    gaincell("cost", "gpt2", "--export", "hwcomponents").assert_refused("--out")
    gaincell("cost", "gpt2", "--export", "hwcomponents", "--out", str(tmp_path / "a"))
    assert (tmp_path / "a" / "hwcomponents" / "hwcomponents_gaincell" / "__init__.py").is_file()
    assert (tmp_path / "a" / "cost.json").is_file()
