"""A model's layers: of the decoders that people use, by hand from their published configs; and what is refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.model_configs import CONFIGS

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import GPT2, Estimate, HardwareParameters, Layer, Workload, estimate, read_workload
from gaincell.hardware.decoder import read_decoder
from gaincell.hardware.digital import digital_attention
from gaincell.hardware.find_config import find_config
from gaincell.hardware.roofline import H100_SXM, attention_roofline
from gaincell.hardware.whole_token import estimate_whole

PAPER = GainCellConfig.named("leroux2025")
#: What changes with a layer: how many of them, query heads, key/value heads, head_dim, window.
Kinds = list[tuple[int, int, int, int, int | None]]

#: Of published configs, the layers, and those that attend; the rest do not.
MODELS: dict[str, tuple[int, Kinds]] = {
    "gpt2": (12, [(12, 12, 12, 64, None)]),
    "Llama-2-7b": (32, [(32, 32, 32, 128, None)]),
    "Llama-3.1-8B": (32, [(32, 32, 8, 128, None)]),
    "Llama-3.1-70B": (80, [(80, 64, 8, 128, None)]),
    "Mistral-7B-v0.1": (32, [(32, 32, 8, 128, 4096)]),
    "Mistral-7B-v0.3": (32, [(32, 32, 8, 128, None)]),
    "Mixtral-8x7B": (32, [(32, 32, 8, 128, None)]),
    "Qwen2.5-7B": (28, [(28, 28, 4, 128, None)]),
    "Qwen3-8B": (36, [(36, 32, 8, 128, None)]),
    "Qwen3-30B-A3B": (48, [(48, 32, 4, 128, None)]),
    "Qwen3-Next-80B-A3B": (48, [(12, 16, 2, 256, None)]),
    "gemma-2b": (18, [(18, 8, 1, 256, None)]),
    "gemma-2-9b": (42, [(21, 16, 8, 256, 4096), (21, 16, 8, 256, None)]),
    "gemma-3-4b": (34, [(29, 8, 4, 256, 1024), (5, 8, 4, 256, None)]),
    "gemma-3-27b": (62, [(52, 32, 16, 128, 1024), (10, 32, 16, 128, None)]),
    "Phi-3-mini": (32, [(32, 32, 32, 96, 2047)]),
    "falcon-7b": (32, [(32, 71, 1, 64, None)]),
    "falcon-40b": (60, [(60, 128, 8, 64, None)]),
    "starcoder": (40, [(40, 48, 1, 128, None)]),
    "starcoder2-7b": (32, [(32, 36, 4, 128, 4096)]),
    "pythia-1.4b": (24, [(24, 16, 16, 128, None)]),
    "gpt-neo-2.7B": (32, [(16, 20, 20, 128, None), (16, 20, 20, 128, 256)]),
    "opt-6.7b": (32, [(32, 32, 32, 128, None)]),
    "bloom-7b1": (30, [(30, 32, 32, 128, None)]),
    "gpt-oss-20b": (24, [(12, 64, 8, 64, 128), (12, 64, 8, 64, None)]),
    "OLMo-2-7B": (32, [(32, 32, 32, 128, None)]),
    "command-r7b": (32, [(24, 32, 8, 128, 4096), (8, 32, 8, 128, None)]),
    "SmolLM3-3B": (36, [(36, 16, 4, 128, None)]),
    "Jamba-v0.1": (32, [(4, 32, 8, 128, None)]),
    "Nemotron-H-8B": (52, [(4, 32, 8, 128, None)]),
    "recurrentgemma-2b": (26, [(8, 10, 1, 256, 2048)]),
}


def kinds(workload: Workload) -> Kinds:
    found = Counter((x.heads, x.kv_heads, x.key_dim, x.window) for x in workload.attending)
    assert all(x.key_dim == x.value_dim for x in workload.attending)
    return [(count, *of) for of, count in found.items()]


@pytest.mark.parametrize("name", MODELS)
def test_layers_of_published_models(name: str) -> None:
    layers, expected = MODELS[name]
    found = read_workload(CONFIGS[name])
    assert len(found.layers) == layers
    assert sorted(kinds(found), key=str) == sorted(expected, key=str)
    assert found.notes == ()


def test_layers_stand_in_their_order() -> None:
    def attending(name: str) -> list[int]:
        return [number for number, layer in enumerate(read_workload(CONFIGS[name]).layers) if layer.heads]

    assert attending("Jamba-v0.1") == [4, 12, 20, 28]
    assert attending("Nemotron-H-8B") == [7, 18, 29, 40]
    assert attending("recurrentgemma-2b") == list(range(2, 26, 3))
    assert attending("Qwen3-Next-80B-A3B") == list(range(3, 48, 4))
    gemma = read_workload(CONFIGS["gemma-3-4b"]).layers
    assert [number for number, layer in enumerate(gemma) if layer.window is None] == [5, 11, 17, 23, 29]


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"model_type": "deepseek_v32"}, "index_topk is set"),
        ({"model_type": "diffllama"}, "lambda_std_dev is set"),
        ({"model_type": "bert-generation"}, "attends in both directions"),
        ({"model_type": "bart", "is_encoder_decoder": False, "is_decoder": True}, "encoder_layers is set"),
        ({"model_type": "gemma3n"}, "num_kv_shared_layers is set"),
        ({"model_type": "bert"}, "'bert' attends in both directions unless is_decoder is true"),
        ({"model_type": "t5"}, "is_encoder_decoder is set"),
        ({"model_type": "vit"}, "no causal language model of model_type 'vit'"),
        ({"model_type": "mamba"}, "none of its 32 layers attends"),
        ({"model_type": "mllama"}, "cross_attention_layers is set"),
        ({"model_type": "llama", "num_hidden_layers": "many"}, "transformers cannot read it as 'llama'"),
        ({"model_type": "gpt2", "add_cross_attention": True}, "add_cross_attention is set"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_has_no_price_is_refused_with_its_field(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        read_workload(config)
    message = str(raised.value)
    assert message.startswith("model config: ")
    assert message.endswith(".")
    assert ". " not in message


def test_an_encoder_that_is_told_to_decode_is_priced() -> None:
    assert kinds(read_workload({"model_type": "bert", "is_decoder": True})) == [(12, 12, 12, 64, None)]


def test_fields_of_a_model_type_that_is_not_known_are_taken_with_a_note() -> None:
    found = read_workload({**GOOD, "model_type": "mine", "sliding_window": 128})
    assert kinds(found) == [(2, 4, 2, 64, 128)]
    assert "does not know model_type 'mine'" in found.notes[0]
    with pytest.raises(InputError, match="max_window_layers is set, but layer_types is missing"):
        read_workload({**GOOD, "model_type": "mine", "sliding_window": 128, "max_window_layers": 1})


def test_values_may_be_narrower_than_keys_and_sliding_layers_have_other_heads() -> None:
    config = {**GOOD, "num_key_value_heads": 1, "head_dim": 192, "v_head_dim": 128, "sliding_window": 64}
    config |= {"layer_types": ["full_attention", "sliding_attention"], "swa_num_key_value_heads": 2}
    full, sliding = read_workload(config).layers
    assert full == Layer("full_attention", 4, 1, 192, 128)
    assert sliding == Layer("sliding_attention", 4, 2, 192, 128, 64)


def test_latent_attention_has_arrays_for_every_head_and_a_cache_of_latents() -> None:
    """DeepSeek-V3: 61 layers of 128 heads, keys of 128 + 64 and values of 128, from a latent of 512."""
    deepseek = read_workload(CONFIGS["DeepSeek-V3"])
    assert deepseek.layers == (Layer("full_attention", 128, 128, 192, 128, None, 512 + 64),) * 61
    assert "priced as transformers computes it" in deepseek.notes[0]
    expanded = Workload(tuple(replace(layer, latent=0) for layer in deepseek.layers))
    assert estimate(deepseek, LONG).energy_j == estimate(expanded, LONG).energy_j
    latent, heads = (attention_roofline(x, 32768, H100_SXM) for x in (deepseek, expanded))
    assert latent.flop == heads.flop
    output = 61 * 128 * (192 + 128) * 2
    assert (heads.moved_bytes - output) / (latent.moved_bytes - output) == pytest.approx(128 * 320 / 576)


def test_a_chunk_is_priced_as_a_window_that_is_full_with_a_note() -> None:
    """Llama 4 Scout: three layers of four attend in chunks of 8,192 tokens, the fourth to all."""
    llama = read_workload(CONFIGS["Llama-4-Scout"])
    assert kinds(llama) == [(36, 40, 8, 128, 8192), (12, 40, 8, 128, None)]
    sliding = Workload(tuple(replace(layer, kind="sliding_attention") for layer in llama.layers))
    assert estimate(llama, LONG).energy_j == estimate(sliding, LONG).energy_j
    assert "as if a chunk were full" in llama.notes[0]
    assert any("36 of the 48 layers that attend look back 8,192 tokens only" in x for x in estimate(llama, LONG).notes)


def test_a_workload_goes_through_json_and_damage_is_told() -> None:
    found = read_workload(CONFIGS["gemma-3-4b"])
    data = asdict(found)
    assert read_workload(data) == found
    for damage, complaint in (
        ([{"kind": "attention", "width": 3}], "layers.0.width"),
        (
            [{"kind": "attention", "heads": 4, "kv_heads": 3, "key_dim": 1, "value_dim": 1}],
            "multiple of key/value heads",
        ),
        ([3], "layers.0"),
    ):
        with pytest.raises(InputError, match=complaint):
            read_workload({**data, "layers": damage})


def test_a_config_is_found_in_a_folder_or_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert find_config(str(tmp_path), "gpt2") == {"model_type": "gpt2"}
    with pytest.raises(InputError, match=r"neither a folder with config.json nor in the hub's local cache"):
        find_config("nobody/has-this", "gpt2")
    with pytest.raises(InputError, match="neither one of gpt2 nor a folder"):
        find_config("nowhere", "gpt2")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "config.json"))
    assert find_config("somebody/model", "gpt2") == {"model_type": "gpt2"}


# Windows of a layer's own


LASTING = PAPER.replace(
    leak_per_token=None,
    cell=PAPER.cell.model_copy(update={"retention": PAPER.cell.retention.model_copy(update={"tau": 1e9})}),
)
LONG = LASTING.replace(window=32768)


def test_layers_get_arrays_of_their_own_window() -> None:
    """Gemma 3 27B at 32k: 10 layers see all of it, 52 the last 1,024 tokens."""
    found = estimate(CONFIGS["gemma-3-27b"], LONG)
    all_long, all_short = (
        estimate(Workload.uniform(62, 32, 16, 128), LASTING.replace(window=w)) for w in (32768, 1024)
    )
    assert Counter(x.geometry.window for x in found.arrays) == {1024: 52, 32768: 10}
    for total in ("latency_s", "energy_j", "area_m2"):
        long, short = getattr(all_long, total) / 62, getattr(all_short, total) / 62
        assert getattr(found, total) == pytest.approx(10 * long + 52 * short)
    assert any("52 of the 62 layers that attend look back 1,024 tokens only" in note for note in found.notes)
    windows = {1024: 0.0, 32768: 0.0}
    for x, energy in zip(found.arrays, found.layers, strict=True):
        windows[x.geometry.window] += sum(sum(of.values()) for of in energy.values())
    assert found.energy_j == pytest.approx(sum(windows.values()))
    names = [row.name for row in found.table()]
    assert len(set(names)) == len(names)
    assert "energy, one of 52: window 1,024, 32 heads (16 of keys) x 128, mean" in names


def test_what_a_whole_token_of_gemma_gains_is_of_the_layers_that_see_it_all() -> None:
    """Gemma 3 1B at 32k on an H100: 22 of 26 layers look back 512 tokens, on either side."""
    config = {"model_type": "gemma3_text", "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1}
    config |= {"hidden_size": 1152, "intermediate_size": 6912, "sliding_window": 512, "vocab_size": 262144}
    decoder = read_decoder(config)
    alike = replace(decoder, attention=Workload.uniform(26, 4, 1, 256))
    own, as_if = (estimate_whole(x, LONG)[1] for x in (decoder, alike))
    assert own.latency_gain == pytest.approx(1.06, rel=0.005)
    assert as_if.latency_gain == pytest.approx(1.42, rel=0.01)
    assert estimate(alike, LONG).area_m2 / estimate(config, LONG).area_m2 == pytest.approx(26 / (4 + 22 / 64), rel=0.01)


def test_a_window_of_a_layer_reaches_the_gpu() -> None:
    gpt_oss = read_workload(CONFIGS["gpt-oss-20b"])
    whole, own = (attention_roofline(x, 32768, H100_SXM) for x in (Workload.uniform(24, 64, 8, 64), gpt_oss))
    cache = 2 * 8 * 64 * 2
    assert whole.moved_bytes - own.moved_bytes == 12 * cache * (32768 - 128)
    assert own.latency_s < 0.6 * whole.latency_s


def test_a_window_wider_than_the_arrays_is_theirs() -> None:
    mistral = read_workload(CONFIGS["Mistral-7B-v0.1"])
    assert estimate(mistral, PAPER).energy_j == estimate(Workload.uniform(32, 32, 8, 128), PAPER).energy_j
    assert (
        estimate(mistral, LONG).area_m2
        == estimate(Workload.uniform(32, 32, 8, 128), LASTING.replace(window=4096)).area_m2
    )


def test_a_window_that_no_sub_tiles_make_up_is_refused() -> None:
    phi = read_workload(CONFIGS["Phi-3-mini"])
    assert estimate(phi, PAPER).geometry.window == 1024
    with pytest.raises(InputError, match="window of 2047 tokens is not a multiple of subtile_columns 64"):
        estimate(phi, LASTING.replace(window=4096))


def test_arrays_of_several_sizes_are_not_filled_anew() -> None:
    mixed = Workload((*Workload.uniform(2, 4, 4, 64).layers, *Workload.uniform(2, 4, 4, 64, window=64).layers))
    with pytest.raises(InputError, match="array_pairs 4 are too few"):
        estimate(mixed, PAPER, HardwareParameters(array_pairs=4))
    assert estimate(mixed, PAPER, HardwareParameters(array_pairs=16)).pairs_built == 16


def test_every_layer_is_refreshed_as_its_own_window_needs() -> None:
    mixed = Workload((*Workload.uniform(1, 4, 4, 64).layers, *Workload.uniform(1, 4, 4, 64, window=64).layers))
    found = estimate(mixed, PAPER.replace(token_period_s=20e-6), HardwareParameters(refresh="rewrite"))
    assert [x.retention.refreshes for x in found.arrays] == [4, 0]
    assert "refresh" in found.layers[0]
    assert "refresh" not in found.layers[1]


layers = st.builds(
    lambda kv_heads, group, keys, values, window: Layer("attention", kv_heads * group, kv_heads, keys, values, window),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 200),
    st.integers(1, 200),
    st.sampled_from([None, 64, 512, 4096]),
)
workloads = st.lists(layers, min_size=1, max_size=5).map(lambda found: Workload(tuple(found)))
sharing = st.sampled_from([HardwareParameters(), HardwareParameters(kv_sharing="in_turn")])
POINTS = [LASTING.replace(name="plain"), LASTING.replace(normaliser="ideal", sinks="digital", equalisation=True)]


@settings(max_examples=20)
@given(workloads, st.sampled_from(POINTS), sharing)
def test_a_model_costs_what_its_layers_cost_one_by_one(
    workload: Workload, point: GainCellConfig, p: HardwareParameters
) -> None:
    whole = estimate(workload, point, p)
    each = [estimate(Workload((layer,)), point, p) for layer in workload.layers]
    assert whole.latency_s == pytest.approx(sum(one.latency_s for one in each))
    assert whole.energy_j == pytest.approx(sum(one.energy_j for one in each))
    assert whole.area_m2 == pytest.approx(sum(one.area_m2 for one in each))
    assert whole.pairs_built == sum(one.pairs_built for one in each)
    rows = whole.table()
    assert len({row.name for row in rows}) == len(rows)


@settings(max_examples=20)
@given(layers, st.sampled_from(POINTS), sharing, st.integers(1, 100))
def test_more_of_anything_in_a_layer_costs_no_less(
    layer: Layer, point: GainCellConfig, p: HardwareParameters, more: int
) -> None:
    def cost(one: Layer) -> Estimate:
        return estimate(Workload((one,)), point, p)

    plain = cost(layer)
    larger = [
        replace(layer, key_dim=layer.key_dim + more),
        replace(layer, value_dim=layer.value_dim + more),
        replace(layer, heads=layer.heads + more * layer.kv_heads),
        replace(layer, window=None if layer.window is None else layer.window + 64 * more),
    ]
    for one in larger[:3]:
        assert cost(one).energy_j > plain.energy_j
    for one in larger:
        assert cost(one).energy_j >= plain.energy_j
        assert cost(one).latency_s >= plain.latency_s
        assert cost(one).area_m2 >= plain.area_m2


@settings(max_examples=10)
@given(workloads)
def test_layers_that_do_not_attend_cost_nothing_and_are_told(workload: Workload) -> None:
    hybrid = replace(workload, layers=(Layer("mamba"), *workload.layers, Layer("mlp")))
    plain, found = estimate(workload, LASTING), estimate(hybrid, LASTING)
    assert (found.energy_j, found.latency_s, found.area_m2) == (plain.energy_j, plain.latency_s, plain.area_m2)
    assert [note for note in found.notes if note not in plain.notes] == [
        f"2 of the model's {len(hybrid.layers)} layers do not attend, and are in no figure."
    ]


# Fields


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"sliding_window": 512}, ["12 of the 12 layers that attend look back 512 tokens only"]),
        ({"sliding_window": 512, "use_sliding_window": False}, []),
        ({"sliding_window": 4096}, []),
        ({"sliding_window": 512, "layer_types": ["sliding_attention"] * 10 + ["full_attention"] * 2}, ["10 of the 12"]),
        ({"n_positions": 1000}, ["has 1,000 positions, so a window of 1,024 is never full"]),
        ({"n_positions": 1000, "sliding_window": 512}, ["look back 512 tokens only"]),
    ],
)
def test_what_differs_from_the_design_points_window_is_said(changes: dict[str, Any], told: list[str]) -> None:
    config = {"num_hidden_layers": 12, "num_attention_heads": 12, "head_dim": 64, **changes}
    found = estimate(config, PAPER)
    assert len(found.notes) == len(told)
    assert all(words in note for words, note in zip(told, found.notes, strict=True))
    assert found.to_dict()["notes"] == list(found.notes)


def test_model_configs_of_many_kinds() -> None:
    assert read_workload({"n_layer": 12, "n_head": 12, "n_embd": 768}) == GPT2
    grouped = {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576}
    assert read_workload(grouped) == Workload.uniform(30, 9, 3, 64)
    assert read_workload(SimpleNamespace(**grouped, head_dim=None)) == Workload.uniform(30, 9, 3, 64)
    assert read_workload({**grouped, "head_dim": 128}).layers[0].key_dim == 128
    assert read_workload({"text_config": grouped}) == read_workload(grouped)
    assert read_workload(SimpleNamespace(get_text_config=lambda: SimpleNamespace(**grouped))) == read_workload(grouped)


@pytest.mark.parametrize("kinds", [["linear_attention", "full_attention"], ["mlp", "hybrid"], ["attention", "mamba"]])
@pytest.mark.parametrize("field", ["layer_types", "layers_block_type"])
def test_of_a_hybrid_the_layers_that_attend_are_counted(kinds: list[str], field: str) -> None:
    hybrid = {**GOOD, "mamba_d_state": 16, field: kinds}
    assert len(read_workload(hybrid).attending) == 1
    assert estimate(hybrid, PAPER).energy_j == estimate({**GOOD, "num_hidden_layers": 1}, PAPER).energy_j


GOOD = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 256}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers or n_layer is missing; add it."),
        ({"num_attention_heads": None}, "num_attention_heads or n_head is missing; add it."),
        ({"hidden_size": None}, "neither head_dim nor hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, but must be a positive whole number."),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers is 2.5"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_attention_heads": [4, 8]}, r"num_attention_heads is \[4, 8\]"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3."),
        ({"head_dim": -1}, "head_dim is -1"),
        ({"hidden_size": 255}, "hidden_size 255 is not a multiple of num_attention_heads 4; set head_dim."),
        ({"is_encoder_decoder": True}, "is_encoder_decoder is set, but cross-attention"),
        ({"kv_lora_rank": 512}, "qk_rope_head_dim is missing"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "attention_chunk_size is missing; add it."),
        ({"layer_types": ["full_attention", "mesh"]}, "layer_types has 'mesh', which cannot be estimated"),
        ({"layer_types": ["linear_attention", "conv"]}, r"none of its 2 layers attends \(conv, linear_attention\)"),
        ({"layer_types": ["full_attention", "conv", "conv"]}, "layer_types lists 3 layers, but num_hidden_layers is 2"),
        ({"mamba_d_state": 16}, "mamba_d_state says that layers are of several kinds, but layer_types is missing"),
        ({"skip": 3}, "skip is 3, but must be a list of the parts that a layer goes without."),
        ({"skip": "attention"}, "skip is 'attention', but must be a list"),
    ],
)
@pytest.mark.parametrize("kind", [dict, SimpleNamespace])
def test_bad_model_configs_are_told_in_one_sentence(kind, changes, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint) as raised:
        estimate(kind(**{**GOOD, **changes}), PAPER)
    message = str(raised.value)
    assert message.startswith("model config: ")
    assert message.endswith(".")
    assert "\n" not in message
    assert ". " not in message


@pytest.mark.parametrize("layers", [(), (Layer("mamba"), Layer("mlp"))])
@pytest.mark.parametrize("given", [Workload, lambda layers: asdict(Workload(layers))])
def test_layers_of_which_none_attends_are_refused(layers: tuple[Layer, ...], given: Any) -> None:
    with pytest.raises(InputError, match=rf"^model: none of its {len(layers)} layers attends"):
        estimate(given(layers), PAPER)


@pytest.mark.parametrize(
    "alone",
    [
        lambda found: digital_attention(found, PAPER, HardwareParameters(), "sram"),
        lambda found: digital_attention(found, PAPER, HardwareParameters(), "dram"),
        lambda found: attention_roofline(found, 1024, H100_SXM),
    ],
    ids=["sram", "dram", "roofline"],
)
def test_what_stands_beside_an_estimate_refuses_them_too(alone: Callable[[Workload], object]) -> None:
    for layers in ((), (Layer("mamba"),)):
        with pytest.raises(InputError, match=rf"^model: none of its {len(layers)} layers attends; .*\.$"):
            alone(Workload(layers))


def test_ambiguous_text_model_is_an_input_error() -> None:
    def ambiguous() -> None:
        raise ValueError("Multiple valid text configs were found. Please specify.")

    with pytest.raises(InputError, match=r"text model cannot be told: Multiple valid text configs were found\.$"):
        read_workload(SimpleNamespace(get_text_config=ambiguous))
