"""Input that cannot be used: exit code 2, one sentence that says what and what to do, and nothing left behind."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from command_tools import Run
from safetensors import safe_open

CELL = {
    "name": "mine",
    "law": {"coefficients": [0.0, 19.3], "unit": "model", "source": "test"},
    "retention": {"tau": 5, "unit": "ms", "source": "test"},
}


def write_json(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data), "utf-8")
    return path


# What a design point can have wrong; every command that takes --config refuses it before it loads anything.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"windw": 1024}, ["point.json", "unknown field 'windw'", "did you mean 'window'?"]),
        ({"window": -64}, ["'window'", "-64"]),
        ({"window": 100}, ["multiple", "64 or 128"]),
        ({"stored_levels": 1}, ["'stored_levels'"]),
        ({"query_levels": 0}, ["'query_levels'"]),
        ({"cell": {**CELL, "law": {**CELL["law"], "coefficients": [0.0, float("nan")]}}}, ["coefficients"]),
        ({"cell": {**CELL, "law": {"coefficients": [0.0, 19.3], "source": "test"}}}, ["law.unit", "missing"]),
        ({"cell": "no_such_cell.yaml"}, ["no_such_cell.yaml"]),
        (["not", "a", "mapping"], ["mapping"]),
        (CELL, ["is a cell file", "'cell'"]),
    ],
    ids=lambda value: "-".join(map(str, value))[:30] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("command", ["adapt", "evaluate", "cost"])
def test_design_point(command: str, fields: Any, words: list[str], tmp_path: Path, gaincell: Run) -> None:
    path = write_json(tmp_path / "point.json", fields)
    out = ["--out", "run"] if command == "adapt" else []
    gaincell(command, "--config", path, *out).assert_refused(*words)
    assert [p.name for p in tmp_path.iterdir()] == ["point.json"]


@pytest.mark.parametrize("command", [["adapt", "--out", "run"], ["evaluate"], ["cost"]], ids=lambda c: c[0])
def test_unknown_preset(command: list[str], gaincell: Run) -> None:
    gaincell(*command, "--config", "leroux").assert_refused("'leroux'", "leroux2025")
    assert not Path("run").exists()


def test_yaml_that_is_none_is_told_with_its_place(tmp_path: Path, gaincell: Run) -> None:
    point = tmp_path / "point.yaml"
    point.write_text("name: mine\nwindow: 512\nstored_levels: [8\n")
    gaincell("cost", "--config", point).assert_refused("point.yaml is not valid YAML", "expected ',' or ']'", "line 4")


def test_doctor_knows_adapters(gaincell: Run) -> None:
    ended = gaincell("doctor", "--model", "extended")
    assert "extended is an adapter of smollm2-135m-instruct, for design point 'extended'" in ended.out


def test_cell_file(tmp_path: Path, gaincell: Run) -> None:
    cell = tmp_path / "cell.yaml"
    cell.write_text("name: mine\nlaw: {coefficients: [0, .nan], unit: model, source: s}\n")
    gaincell("cost", "--config", write_json(tmp_path / "point.json", {"cell": str(cell)})).assert_refused("cell.yaml")


# What a model folder can have wrong; nothing in it is run, whatever it holds.


def spoil_without_weights(folder: Path) -> list[str]:
    (folder / "model.safetensors").unlink()
    return ["has no safetensors weights"]


def spoil_with_truncated_weights(folder: Path) -> list[str]:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return ["model.safetensors", "damaged or truncated"]


def spoil_with_truncated_header(folder: Path) -> list[str]:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:60])
    return ["model.safetensors", "damaged or truncated"]


def spoil_with_an_empty_file(folder: Path) -> list[str]:
    (folder / "model.safetensors").write_bytes(b"")
    return ["model.safetensors", "damaged or truncated"]


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("exploded").touch, ())


def spoil_with_pickled_weights(folder: Path) -> list[str]:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb()))
    return ["pickle", "safetensors"]


def spoil_with_gguf(folder: Path) -> list[str]:
    (folder / "model.safetensors").unlink()
    (folder / "model.gguf").write_bytes(b"GGUF")
    return ["GGUF"]


def spoil_without_config(folder: Path) -> list[str]:
    (folder / "config.json").unlink()
    return ["no config.json"]


def spoil_with_malformed_config(folder: Path) -> list[str]:
    (folder / "config.json").write_text("{")
    return ["config.json", "JSON"]


def spoil_with_a_list_as_config(folder: Path) -> list[str]:
    (folder / "config.json").write_text("[1]")
    return ["config.json", "mapping"]


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    write_json(path, {**json.loads(path.read_text()), **fields})


def spoil_with_remote_code(folder: Path) -> list[str]:
    (folder / "modeling_mine.py").write_text("from pathlib import Path\nPath('exploded').touch()\n")
    change_config(folder, auto_map={"AutoConfig": "modeling_mine.A", "AutoModelForCausalLM": "modeling_mine.B"})
    return ["auto_map", "never runs"]


def spoil_with_a_remote_tokenizer(folder: Path) -> list[str]:
    path = folder / "tokenizer_config.json"
    write_json(path, {**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["mine.A", None]}})
    return ["tokenizer_config.json", "auto_map"]


def spoil_with_a_remote_kernel(folder: Path) -> list[str]:
    change_config(folder, attn_implementation="someone/kernels")
    return ["attn_implementation", "never runs"]


def spoil_with_an_encoder(folder: Path) -> list[str]:
    change_config(folder, model_type="bert", architectures=["BertForMaskedLM"])
    return ["BertForMaskedLM", "causal"]


def spoil_with_an_image_model(folder: Path) -> list[str]:
    change_config(folder, model_type="vit", architectures=["ViTModel"])
    return ["ViTModel", "causal"]


def spoil_with_an_encoder_decoder(folder: Path) -> list[str]:
    change_config(folder, model_type="t5", architectures=["T5ForConditionalGeneration"], is_encoder_decoder=True)
    return ["causal"]


def spoil_with_an_unknown_type(folder: Path) -> list[str]:
    change_config(folder, model_type="quux")
    return ["'quux'", "unknown"]


def spoil_with_another_quantiser(folder: Path) -> list[str]:
    change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    return ["quantised", "gptq"]


def spoil_with_another_width(folder: Path) -> list[str]:
    change_config(folder, hidden_size=64)
    return ["do not fit"]


def spoil_with_more_layers(folder: Path) -> list[str]:
    change_config(folder, num_hidden_layers=3, layer_types=None)
    return ["lack", "model.layers.2"]


def spoil_with_a_text_as_width(folder: Path) -> list[str]:
    change_config(folder, hidden_size="wide")
    return ["cannot be loaded"]


def spoil_without_tokenizer(folder: Path) -> list[str]:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    return ["tokenizer"]


def spoil_with_malformed_tokenizer(folder: Path) -> list[str]:
    (folder / "tokenizer.json").write_text('{"model": 1}')
    return ["tokenizer"]


def spoil_with_another_models_tokenizer(folder: Path) -> list[str]:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = {token: 10 * number for token, number in content["model"]["vocab"].items()}
    for token in content["added_tokens"]:
        token["id"] = 10 * token["id"]
    write_json(path, content)
    return ["tokenizer", "another model"]


def spoil_with_a_missing_shard(folder: Path) -> list[str]:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write_json(folder / "model.safetensors.index.json", {"weight_map": names})
    return ["model-00002-of-00002.safetensors is missing"]


def spoil_with_an_index_that_leads_elsewhere(folder: Path) -> list[str]:
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": "../elsewhere.safetensors"}})
    return ["index.json"]


SPOILERS = [value for name, value in dict(globals()).items() if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda f: f.__name__.removeprefix("spoil_"))
def test_model_folder(spoil: Any, tiny_copy: Path, gaincell: Run) -> None:
    words = spoil(tiny_copy)
    gaincell("evaluate", tiny_copy).assert_refused(*words)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "spoil", [spoil_without_weights, spoil_with_truncated_weights, spoil_with_remote_code], ids=lambda f: f.__name__
)
def test_model_folder_for_the_other_commands(spoil: Any, tiny_copy: Path, gaincell: Run) -> None:
    words = spoil(tiny_copy)
    gaincell("adapt", tiny_copy, "--out", "run").assert_refused(*words)
    assert not Path("run").exists()
    gaincell("generate", "The", "--model", tiny_copy).assert_refused(*words)
    ended = gaincell("doctor", "--model", tiny_copy)
    assert ended.code == 1
    assert words[-1] in ended.out


def test_design_point_in_a_saved_model(tiny_converted_copy: Path, gaincell: Run) -> None:
    config = json.loads((tiny_converted_copy / "config.json").read_text())
    section = config["quantization_config"]
    for point, word in (
        ({**section["design_point"], "window": -1}, "'window'"),
        ("extended", "mapping"),
        (None, "mapping"),
    ):
        change_config(tiny_converted_copy, quantization_config={**section, "design_point": point})
        gaincell("evaluate", tiny_converted_copy).assert_refused(word)
        assert gaincell("doctor", "--model", tiny_converted_copy).code == 1


def test_a_file_is_no_model(tmp_path: Path, gaincell: Run) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    gaincell("evaluate", path).assert_refused("GGUF", "folder")
    gaincell("evaluate", tmp_path / "absent").assert_refused("absent", "neither")
    gaincell("evaluate", "x" * 5000).assert_refused("neither")
    gaincell("cost", "x" * 5000).assert_refused("neither")


# Texts, prompts, numbers, folders.


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"", "empty"), (b" \n ", "empty"), (b"\xff\xfe\x00a", "UTF-8")],
    ids=["empty", "blank", "binary"],
)
def test_text(content: bytes, word: str, tiny: Path, tmp_path: Path, gaincell: Run) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    gaincell("evaluate", tiny, "--text", path).assert_refused("words.txt", word)
    gaincell("adapt", tiny, "--out", "run", "--text", path).assert_refused("words.txt", word)
    assert not Path("run").exists()


def test_text_that_is_absent(tiny: Path, gaincell: Run) -> None:
    gaincell("evaluate", tiny, "--text", "absent.txt").assert_refused("absent.txt")


@pytest.mark.parametrize(
    "args",
    [
        ("report", "extended", "--sentence", "a \udcff"),
        ("report", "extended", "--out", "\udcff.html"),
        ("cost", "\udce9"),
    ],
)
def test_bytes_that_are_no_text(args: tuple[str, ...], gaincell: Run) -> None:
    gaincell(*args).assert_refused("\\udc", "not UTF-8")


def test_prompt(tiny: Path, gaincell: Run) -> None:
    gaincell("generate", "", "--model", tiny).assert_refused("prompt is empty")
    gaincell("generate", "Who?", "--chat", "--model", tiny).assert_refused("chat template")
    gaincell("generate", "\udcff", "--model", tiny).assert_refused("not UTF-8")
    gaincell("generate", "Who?", "--max-new-tokens", 2048, "--model", tiny).assert_refused("2048 positions")


@pytest.mark.parametrize(
    "template",
    [
        "{% if %}",
        "{{ raise_exception('no system role') }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('touch MARK').read() }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ messages[7]['content'] + 1 }}",
    ],
)
def test_a_chat_template_that_fails(template: str, tiny_copy: Path, gaincell: Run) -> None:
    (tiny_copy / "chat_template.jinja").write_text(template)
    gaincell("generate", "Who?", "--chat", "--model", tiny_copy).assert_refused("chat template")
    assert not Path("MARK").exists()


def test_a_chat_template_that_fails_where_the_model_writes_its_own_text(tiny_copy: Path, gaincell: Run) -> None:
    (tiny_copy / "chat_template.jinja").write_text("{{ 1 / 0 }}")
    gaincell("adapt", tiny_copy, "--out", "run", "--set", "precision=no").assert_refused("chat template fails")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["--length", "1"], "--length"),
        (["--stride", "0"], "--stride"),
        (["--length", "64", "--stride", "64"], "stride"),
        (["--tokens", "-5"], "--tokens"),
        (["--tokens", "many"], "--tokens"),
        (["--length", "4096"], "2048 positions"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_numbers_and_options(args: list[str], word: str, tiny: Path, gaincell: Run) -> None:
    gaincell("evaluate", tiny, *args).assert_refused(word)


def test_usage(gaincell: Run) -> None:
    gaincell("adpat").assert_refused("'adpat'", "Did you mean 'adapt'? see 'gaincell --help'")
    gaincell("adapt").assert_refused("'--out'", "gaincell adapt --help")
    gaincell("cost", "--kv-sharing", "both").assert_refused("'both'", "in_turn")
    gaincell("generate").assert_refused("'prompt'")


@pytest.mark.parametrize("stages", ["", "transfer,transfer", "statistic"])
def test_stages(stages: str, tiny: Path, gaincell: Run) -> None:
    gaincell("adapt", tiny, "--out", "run", "--stages", stages).assert_refused("stage")
    assert not Path("run").exists()


def test_output_that_is_a_file(tiny: Path, tmp_path: Path, gaincell: Run) -> None:
    (tmp_path / "file").write_text("mine")
    for command in (["adapt", tiny], ["demo"]):
        gaincell(*command, "--out", "file").assert_refused("file is not a folder")
        gaincell(*command, "--out", "file/below").assert_refused("file is not a folder")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 1, "steps": [], "settings": {}}'])
def test_demo_folder_with_a_damaged_record(content: str, tmp_path: Path, gaincell: Run) -> None:
    (tmp_path / "results.json").write_text(content)
    gaincell("demo", "--out", tmp_path).assert_refused("results.json", "--out")
    assert (tmp_path / "results.json").read_text() == content


def test_spoiling_starts_from_a_sound_model(tiny_copy: Path) -> None:
    with safe_open(tiny_copy / "model.safetensors", framework="pt") as file:
        assert list(file.keys())


@pytest.mark.parametrize(
    "args",
    [
        ["generate", "The sea"],
        ["evaluate", "demo"],
        ["evaluate", "demo", "--panel"],
        ["evaluate", "demo", "--tasks", "piqa"],
        ["report", "extended"],
        ["demo"],
        ["cost", "extended", "--activity", "speeches"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("device", ["cuda:99", "meta", "abacus"])
def test_a_device_that_is_not_there_is_refused_before_a_model_is_loaded(
    args: list[str], device: str, gaincell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gaincell.models.load.load_model", lambda name: pytest.fail("a model was loaded"))
    gaincell(*args, "--device", device).assert_refused(f"--device {device}", "choose from cpu")


@pytest.mark.parametrize("args", [[], ["--activity", "activity.json"]], ids=["no activity", "a file of it"])
def test_a_device_where_no_model_runs_is_refused(args: list[str], gaincell: Run) -> None:
    gaincell("cost", "extended", *args, "--device", "cpu").assert_refused("--device", "leave it out")
