"""`gaincell explore`: what it writes, what others read of it, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from command_tools import Run

from gaincell import GainCellConfig

pytest.importorskip("optuna")

COST = ("explore", "gpt2", "--vary", "output_levels=16,64", "--vary", "subtile_columns=64:256", "--out", "out")


def test_cost_alone_needs_no_model(tmp_path: Path, gaincell: Run) -> None:
    """A picked design point is what 'cost --config' takes, with what the study said it costs."""
    ended = gaincell(*COST, "--pick", "knee", "--pick", "latency_s<1e-6")
    assert ended.code == 0, ended.err
    assert "of 6 points" in ended.out
    found = json.loads((tmp_path / "out" / "points.json").read_text("utf-8"))
    assert len(found["points"]) == 6
    with (tmp_path / "out" / "points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["output_levels"], row["subtile_columns"]) for row in rows} == {
        (a, b) for a in ("16", "64") for b in ("64", "128", "256")
    }
    assert [row["point"] for row in rows if row["front"] == "yes"] == [str(n) for n in sorted(found["front"])]
    latex = (tmp_path / "out" / "front.tex").read_text("utf-8")
    assert r"output\_levels & subtile\_columns & fidelity" in latex
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "https:" not in page
    picked = GainCellConfig.load(tmp_path / "out" / "knee.yaml")
    cost = json.loads(gaincell("cost", "gpt2", "--config", "out/knee.yaml", "--json").out)
    wanted = {"output_levels": picked.output_levels, "subtile_columns": picked.subtile_columns}
    (point,) = (point for point in found["points"] if point["values"] == wanted)
    assert cost["energy_j"] == pytest.approx(point["figures"]["energy_j"])


def test_hardware_that_is_varied_is_picked_with_the_design_point(tmp_path: Path, gaincell: Run) -> None:
    ended = gaincell("explore", "gpt2", "--vary", "clock_hz=1e9,2e9", "--out", "out", "--pick", "knee", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    clock = told["picked"]["knee"]["values"]["clock_hz"]
    assert json.loads((tmp_path / "out" / "knee.hardware.json").read_text("utf-8"))["clock_hz"] == clock
    both = ("--config", "out/knee.yaml", "--hardware", "out/knee.hardware.json")
    assert gaincell("cost", "gpt2", *both).code == 0


def test_hardware_that_is_given_is_picked_with_the_design_point(tmp_path: Path, gaincell: Run) -> None:
    """Without it the point costs something else; the default hardware needs no file, and leaves none of before."""
    (tmp_path / "mine.json").write_text('{"write_line_columns": 4}')
    levels = ("explore", "gpt2", "--vary", "output_levels=16,64", "--out", "out", "--pick", "knee", "--json")
    told = json.loads(gaincell(*levels, "--hardware", "mine.json", "--storage", "a.log").out)
    assert told["picked"]["knee"]["hardware_file"] == "out/knee.hardware.json"
    found = json.loads((tmp_path / "out" / "points.json").read_text("utf-8"))
    assert found["hardware"]["write_line_columns"] == 4
    assert GainCellConfig(**found["base"]) == GainCellConfig.named("leroux2025")
    both = ("--config", "out/knee.yaml", "--hardware", "out/knee.hardware.json", "--json")
    cost = json.loads(gaincell("cost", "gpt2", *both).out)
    assert cost["energy_j"] == pytest.approx(told["picked"]["knee"]["figures"]["energy_j"])
    assert "hardware_file" not in json.loads(gaincell(*levels, "--storage", "b.log").out)["picked"]["knee"]
    assert not (tmp_path / "out" / "knee.hardware.json").exists()


def test_cells_that_are_compared_leak_by_their_retention(tmp_path: Path, gaincell: Run) -> None:
    cells = ("explore", "gpt2", "--vary", "cell=leroux2025,ito-2t0c", "--out", "out", "--pick", "knee")
    ended = gaincell(*cells)
    assert ended.code == 0, ended.err
    assert "note: each cell leaks as its own retention has it: leak_per_token is null" in ended.out
    assert "Each cell leaks as its own retention has it" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert GainCellConfig.load(tmp_path / "out" / "knee.yaml").leak_per_token is None


def test_a_study_goes_on_and_is_joined(tmp_path: Path, gaincell: Run) -> None:
    few = [*COST[:-2], "--storage", "kept.log", "--out", "out"]
    assert len(json.loads(gaincell(*few, "--points", "2", "--json").out)["points"]) == 2
    gaincell("explore", "--join", "kept.log", "--text", "library").assert_refused("--text", "cost alone")
    same = gaincell("explore", "--join", "kept.log", "--out", "other", "--json")
    assert len(json.loads(same.out)["points"]) == 2
    joined = gaincell("explore", "--join", "kept.log", "--points", "64", "--out", "other", "--json")
    assert len(json.loads(joined.out)["points"]) == 6
    shown = gaincell("explore", "--join", "kept.log", "--points", "0", "--out", "shown", "--json")
    assert json.loads(shown.out)["points"] == json.loads(joined.out)["points"]


def test_quick_looks_at_a_model(tiny: Path, tmp_path: Path, gaincell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gaincell.models import convert_, save_adapter
    from gaincell.models.load import load_model

    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    model = load_model(tiny)[0]
    save_adapter(convert_(model, "extended"), load_model(tiny)[0], tmp_path / "tiny.safetensors")
    ended = gaincell("explore", tiny, "--from", "tiny.safetensors", "--quick", "--out", "out")
    assert ended.code == 0, ended.err
    assert "of 4 points" in ended.out
    assert "kl" in ended.out
    assert "note: quality is of rows of 128 tokens" in ended.out
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Quality is of 1 row of 128 tokens of &#39;library&#39;" in page
    assert "An adapter may have learned from such texts" in page
    assert {path.suffix for path in (tmp_path / "cache" / "explore").iterdir()} == {".json"}
    shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--vary", "output_level=16,32"], ["'output_level'", "did you mean 'output_levels'?"]),
        (["--vary", "output_levels=64:16"], ["output_levels=64:16", "empty"]),
        (["--vary", "output_levels"], ["FIELD=VALUES"]),
        (["--vary", "window=100,200"], ["no design point of this space is valid", "window"]),
        ([], ["nothing is varied"]),
        (["--vary", "output_levels=16,32", "--objective", "kl", "--objective", "energy_j"], ["kl needs a model"]),
        (["--vary", "output_levels=16,32", "--objective", "speed", "--objective", "energy_j"], ["'speed'"]),
        (["--vary", "output_levels=16,32", "--limit", "speed=1"], ["--limit", "'speed'", "no figure"]),
        (["--vary", "output_levels=16,32", "--limit", "energy_j=low"], ["'low' is no number"]),
        (["--vary", "output_levels=16,32", "--pick", "best"], ["--pick 'best'"]),
        (["--vary", "output_levels=16,32", "--points", "0", "--pick", "knee"], ["there is no point yet"]),
        (["--vary", "output_levels=16,32", "--pick", "kl<1"], ["--pick kl needs a model that runs"]),
        (["--vary", "output_levels=16,32", "--text", "library"], ["--from ADAPTER"]),
        (["--vary", "output_levels=16,32", "--fidelity", "matched"], ["--from ADAPTER"]),
        (["--vary", "output_levels=16,32", "--from", "extended"], ["shape without weights"]),
        (["--vary", "output_levels=16,32", "--config", "no.yaml"], ["no.yaml"]),
        (["--join", "no.log"], ["no.log", "no journal"]),
        (["--join", "no.log", "--vary", "output_levels=16,32"], ["leave --vary out"]),
        (["--vary", "output_levels=16,32", "--storage", "mysql://x/y"], ["mysql://"]),
    ],
)
def test_refused(given: list[str], words: list[str], gaincell: Run) -> None:
    gaincell("explore", "gpt2", *given).assert_refused(*words)


@pytest.mark.parametrize("place", ["/proc/x/j.log", "/dev/null", "/dev/full", "words.txt/j.log", ""])
@pytest.mark.parametrize("option", ["--storage", "--join"])
def test_a_storage_that_cannot_be_is_refused(option: str, place: str, tmp_path: Path, gaincell: Run) -> None:
    (tmp_path / "words.txt").write_text("words\n")
    if option == "--join":
        gaincell("explore", option, place).assert_refused(place, "no journal")
    else:
        gaincell("explore", "gpt2", "--vary", "output_levels=16,64", option, place).assert_refused("--storage", place)


def test_a_front_without_points_is_told(tmp_path: Path, gaincell: Run) -> None:
    """That all points are beyond a limit is no lack of points, with --pick or without; and of a front how many."""
    ended = gaincell(*COST, "--limit", "energy_j=1e-20")
    assert ended.code == 0, ended.err
    told = "There is no front: none of the 6 design points that can be had keeps all limits"
    assert told in " ".join(ended.out.split())
    assert told in (tmp_path / "out" / "report.html").read_text("utf-8")
    cannot = ("explore", "gpt2", "--vary", "layer_latency_s=3e-8", "--out", "other")
    for given, words in (
        ((*COST, "--limit", "energy_j=1e-20"), "none of the 6 design points that can be had keeps all limits; ask for"),
        (cannot, "none of 1 design points can be had"),
    ):
        ended = gaincell(*given, "--pick", "knee")
        assert ended.code == 2
        assert f"error: --pick knee: {words}" in ended.err
    count = len(json.loads(gaincell(*COST[:-1], "third", "--json").out)["front"])
    assert f"Front: {count} of 6 points" in gaincell(*COST[:-1], "third").out


def test_a_storage_of_another_study_is_refused(gaincell: Run) -> None:
    assert gaincell(*COST, "--points", "1").code == 0
    gaincell(*COST, "--limit", "latency_s=1").assert_refused("holds another study", "limits differ")
