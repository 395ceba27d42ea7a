"""Every command: its help, its result, its JSON."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_tools import Run

import gaincell as package

COMMANDS = (
    *("demo", "adapt", "generate", "evaluate", "report", "cost", "explore", "measure-gpu", "reproduce"),
    *("characterize", "fit", "doctor", "circuit"),
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_of_that_command(command: str, gaincell: Run) -> None:
    ended = gaincell(*([command] if command else []), "--help")
    assert ended.code == 0
    assert ended.err == ""
    assert re.search(rf"Example: gaincell {command or 'demo'}\b", ended.out)


def test_help_lists_every_command_in_full(gaincell: Run) -> None:
    ended = gaincell("--help")
    listed = re.findall(r"^  ([\w-]+)  +(\S.*)$", ended.out.partition("Commands:")[2], re.MULTILINE)
    assert tuple(name for name, _ in listed) == COMMANDS
    assert not [line for _, line in listed if line.endswith("...")]


def test_no_arguments_show_the_help(gaincell: Run) -> None:
    assert gaincell() == gaincell("--help")


def test_version(gaincell: Run) -> None:
    assert gaincell("--version").out == f"gaincell {package.__version__}\n"


@pytest.mark.parametrize(
    "args",
    [["--help"], ["demo", "--help"], ["characterize", "--help"], ["cost"], ["cost", "smollm2", "--json"]],
    ids=" ".join,
)
def test_light_commands_import_neither_torch_nor_transformers(args: list[str]) -> None:
    code = (
        "import sys; from gaincell.cli.app import run; "
        f"code = run({args}); print(code, *sorted({{'torch', 'transformers'}} & set(sys.modules)), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == "0\n"


def test_the_installed_command_and_the_module_are_the_same() -> None:
    by_module = subprocess.run(
        [sys.executable, "-m", "gaincell.cli", "--version"], capture_output=True, text=True, check=True
    )
    script = Path(sys.executable).with_name("gaincell")
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert by_module.stdout == by_script.stdout


def test_cost_shows_estimate_beside_published(gaincell: Run) -> None:
    ended = gaincell("cost")
    assert ended.code == 0
    assert re.search(r"latency, one layer +65 +ns +65 +1\b", ended.out)
    assert "without synchronising" in ended.out


def test_cost_of_a_model_folder_reads_only_its_config(tmp_path: Path, gaincell: Run) -> None:
    (tmp_path / "config.json").write_text('{"n_layer": 2, "n_head": 4, "n_embd": 64}')
    found = json.loads(gaincell("cost", tmp_path, "--config", "extended", "--json").out)
    heads = {"heads": 4, "kv_heads": 4, "key_dim": 16, "value_dim": 16}
    assert found["model"]["layers"] == [{"kind": "full_attention", **heads, "window": None, "latent": 0}] * 2
    assert found["design_point"] == "extended"


def test_cost_with_shared_arrays_has_less_area_and_more_latency(gaincell: Run) -> None:
    copied, in_turn = (
        json.loads(gaincell("cost", "smollm2", "--kv-sharing", sharing, "--json").out)
        for sharing in ("copied", "in_turn")
    )
    later = 2 * 30 * 35e-9  # two more queries of a group in every layer, which need no write
    assert in_turn["latency_s"] == pytest.approx(copied["latency_s"] + later)
    assert in_turn["area_m2"] == pytest.approx(copied["area_m2"] / 3)


def test_cost_of_an_adapted_model_is_at_its_own_design_point(tiny_converted: Path, gaincell: Run) -> None:
    assert json.loads(gaincell("cost", tiny_converted, "--json").out)["design_point"] == "extended"
    ended = gaincell("cost", tiny_converted, "--config", "leroux2025", "--json")
    assert json.loads(ended.out)["design_point"] == "leroux2025"


def test_evaluate_prints_perplexity(tiny: Path, text_file: Path, gaincell: Run) -> None:
    ended = gaincell("evaluate", tiny, "--text", text_file, "--length", 64, "--tokens", 200)
    assert ended.code == 0
    assert re.match(r"perplexity [\d.]+\n", ended.out)
    assert "softmax" in ended.out
    assert re.fullmatch(r"perplexity: (\d+) of \1 in \d+ s\n", ended.err)


def test_evaluate_as_json_is_only_json(tiny: Path, text_file: Path, gaincell: Run) -> None:
    args = ("evaluate", tiny, "--text", text_file, "--length", 64, "--tokens", 200, "--stride", 16, "--json")
    found = json.loads(gaincell(*args).out)
    assert (found["tokens"], found["length"], found["stride"]) == (200, 64, 16)
    assert found["attention"] == "softmax"
    # a random model knows nothing: about as many choices as the vocabulary has
    assert 100 < found["perplexity"] < 1000
    mapped = json.loads(gaincell(*args, "--config", "leroux2025").out)
    assert mapped["attention"] == "leroux2025"
    assert mapped["perplexity"] != found["perplexity"]


def test_evaluate_moves_a_converted_model_and_says_so(tiny_converted: Path, text_file: Path, gaincell: Run) -> None:
    args = ("evaluate", tiny_converted, "--text", text_file, "--length", 64, "--tokens", 100)
    assert "extended" in gaincell(*args).out
    narrow = text_file.parent / "narrow.yaml"
    narrow.write_text(package.GainCellConfig.named("extended").replace(name="narrow", window=64).to_yaml(), "utf-8")
    ended = gaincell(*args, "--config", narrow)
    assert "narrow" in ended.out
    assert "note: design point changed from extended to narrow" in ended.err
    refused = gaincell(*args, "--config", "leroux2025")
    assert refused.code == 2
    assert "another equalisation and score_preset and sinks" in refused.err
    assert "note:" not in refused.err


def test_json_has_no_nan(tiny_copy: Path, text_file: Path, gaincell: Run) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    path = tiny_copy / "model.safetensors"
    weights = load_file(path)
    save_file({name: torch.full_like(w, torch.nan) for name, w in weights.items()}, path, metadata={"format": "pt"})
    ended = gaincell("evaluate", tiny_copy, "--text", text_file, "--length", 64, "--tokens", 100, "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["perplexity"] is None


def test_generate_writes_text_and_tells_speed_and_cache(tiny_converted: Path, gaincell: Run) -> None:
    ended = gaincell("generate", "The quick", "--model", tiny_converted, "--max-new-tokens", 8)
    assert ended.code == 0
    assert ended.out.startswith("The quick")
    assert re.search(r"extended; \d+ tokens, [\d.,]+ tokens/s", ended.err)
    # 2 layers x (keys and values) x 2 heads x 8: one byte each against two
    assert "cache: 64 bytes per token (bfloat16: 128)" in ended.err


def test_generate_is_the_same_for_the_same_seed_only(tiny: Path, gaincell: Run) -> None:
    def write(seed: int) -> str:
        args = (
            "generate",
            "The",
            "--model",
            tiny,
            "--temperature",
            1.0,
            "--seed",
            seed,
            "--max-new-tokens",
            16,
            "--json",
        )
        found = json.loads(gaincell(*args).out)
        assert found["cache_bytes_per_token"] is None
        return found["text"]

    assert write(1) == write(1) != write(2)


def test_doctor_is_content_here(gaincell: Run) -> None:
    ended = gaincell("doctor", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert found["ok"]
    names = {finding["name"]: finding["state"] for finding in found["findings"]}
    assert {"python", "torch", "transformers", "ngspice", "demo model", "cache folder", "disk"} <= set(names)


def test_doctor_knows_a_converted_model_from_an_ordinary_one(tiny: Path, tiny_converted: Path, gaincell: Run) -> None:
    ended = gaincell("doctor", "--model", tiny)
    assert ended.code == 0
    assert "attends with softmax" in ended.out
    ended = gaincell("doctor", "--model", tiny_converted)
    assert ended.code == 0
    assert "attends in gain cells at 'extended', 2 layers" in ended.out


def test_doctor_detects_a_model_that_would_silently_attend_with_softmax(
    tiny_converted_copy: Path, gaincell: Run
) -> None:
    path = tiny_converted_copy / "config.json"
    config = json.loads(path.read_text())
    del config["quantization_config"]
    path.write_text(json.dumps(config))
    ended = gaincell("doctor", "--model", tiny_converted_copy)
    assert ended.code == 1
    assert "broken model" in ended.out
    assert "silently attend with softmax" in ended.out
    gaincell("evaluate", tiny_converted_copy).assert_refused("lost the design point")


def test_doctor_detects_a_design_point_without_scalers(tiny_converted: Path, tiny_copy: Path, gaincell: Run) -> None:
    (tiny_copy / "config.json").write_text((tiny_converted / "config.json").read_text())
    ended = gaincell("doctor", "--model", tiny_copy)
    assert ended.code == 1
    assert "nobody adapted" in ended.out
    gaincell("evaluate", tiny_copy).assert_refused("hold no scalers")
