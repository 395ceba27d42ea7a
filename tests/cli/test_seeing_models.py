"""Models that look at images, at the command line: text goes in, and images are not forgotten."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command_tools import Run
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
)

from gaincell import InputError
from gaincell.cli import adapt as command
from gaincell.models import attention_modules, scalers_of
from gaincell.models.chat import apply_chat_template
from gaincell.models.load import load_model

IMAGE = 260
TEXT_PART: dict[str, Any] = {
    **{"model_type": "llama", "vocab_size": 264, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048},
    **{"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
}
VISION: dict[str, Any] = {
    **{"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"image_size": 8, "patch_size": 4},
}
PARTS = (
    "{% for m in messages %}{{ m['role'] }}:{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}|{% endfor %}"
)


def save(model: PreTrainedModel, tiny: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llava(tiny: Path) -> Path:
    torch.manual_seed(0)
    vision = {**VISION, "model_type": "clip_vision_model", "projection_dim": 16}
    config = LlavaConfig(
        vision_config=vision, text_config=TEXT_PART, image_token_id=IMAGE, vision_feature_layer=-1, pad_token_id=1
    )
    folder = save(LlavaForConditionalGeneration(config), tiny, tiny.with_name("llava"))
    (folder / "preprocessor_config.json").write_text('{"do_rescale": true}')
    (folder / "chat_template.jinja").write_text(PARTS)
    return folder


@pytest.fixture(scope="module")
def blip(tiny: Path) -> Path:
    text = {key: TEXT_PART[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
    text |= {"num_attention_heads": 4, "encoder_hidden_size": 16, "bos_token_id": 0, "max_position_embeddings": 64}
    config = BlipConfig(text_config=text, vision_config=VISION, projection_dim=8)
    return save(BlipForConditionalGeneration(config), tiny, tiny.with_name("blip"))


def seen(model: PreTrainedModel) -> torch.Tensor:
    """What it says after an image."""
    ids = torch.tensor([[5, IMAGE, IMAGE, IMAGE, IMAGE, 9]])
    pixels = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pixels, use_cache=False).logits[0, -1]


def test_its_text_is_measured_adapted_and_written(
    llava: Path, gaincell: Run, text_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        command,
        "QUICK",
        {"rows": 4, "length": 24, "transfer.steps": 1, "distill.tokens": 192, "distill.batch": 4, "held_back": 0},
    )
    measured = ("--text", text_file, "--tokens", 64, "--json")
    original, mapped = (
        json.loads(gaincell("evaluate", llava, *measured, *more).out) for more in ((), ("--config", "extended"))
    )
    assert (original["attention"], mapped["attention"]) == ("softmax", "extended")
    assert original["perplexity"] != mapped["perplexity"]
    adapted = gaincell("adapt", llava, "--text", text_file, "--out", "run", "--quick")
    assert adapted.code == 0, adapted.err
    assert json.loads(gaincell("evaluate", "run/model", *measured).out)["attention"] == "extended"
    assert "2 layers" in gaincell("doctor", "--model", "run/model").out
    assert gaincell("generate", "The sea", "--model", "run/model", "--chat", "--max-new-tokens", 4).code == 0
    assert gaincell("cost", "run/model", "--config", "extended").code == 0

    # All of it is there again: the image's encoder, how images are made ready, and the image counts.
    assert Path("run/model/preprocessor_config.json").read_text() == (llava / "preprocessor_config.json").read_text()
    model = AutoModelForImageTextToText.from_pretrained("run/model")
    assert len(scalers_of(model)) == len(attention_modules(model)) == 2
    before = load_model(llava)[0]
    for name, p in before.named_parameters():
        if "vision" in name:
            assert torch.equal(p, model.get_parameter(name)), name
    assert not torch.equal(seen(model), seen(before))
    assert torch.equal(seen(model), seen(load_model("run/model")[0]))


def test_one_that_reads_no_text_without_an_image_is_refused(blip: Path, gaincell: Run) -> None:
    gaincell("generate", "The sea", "--model", blip).assert_refused("reads no text without an image")


def test_one_whose_text_is_encoded_first_is_refused(llava: Path, gaincell: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(llava, tmp_path / "encoded"))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["is_encoder_decoder"] = True
    (folder / "config.json").write_text(json.dumps(config))
    gaincell("evaluate", folder).assert_refused("no causal language model", "causal decoders only")


@pytest.mark.parametrize(
    "template",
    [
        PARTS,
        "{% for m in messages %}{{ m['role'] }}:{{ m['content'][0]['text'] }}|{% endfor %}",
        "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}|{% endfor %}",
    ],
)
def test_a_chat_template_hears_what_is_asked_in_parts_or_whole(template: str, tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = template
    said = [{"role": "user", "content": "Who?"}]
    assert apply_chat_template(tokenizer, said, tokenize=False) == "user:Who?|"


def test_a_chat_template_that_hears_nothing_is_refused(tiny: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}|{% endfor %}"
    with pytest.raises(InputError, match=r"writes the same whatever is asked; correct it .*\.$"):
        apply_chat_template(tokenizer, [{"role": "user", "content": "Who?"}], tokenize=False)
