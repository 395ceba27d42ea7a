"""Perplexity: every token once, with the context it was promised; and texts that cannot be scored."""

import copy
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

import gaincell
from gaincell import GainCellConfig, InputError
from gaincell.evaluate.text import default_text, load_text, novel
from gaincell.evaluate.text_prefix import prefix_of

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_tokenizer(first: str = "") -> PreTrainedTokenizerFast:
    """A real byte-level BPE without merges: one token a byte; it reads any text. It puts `first` in front."""
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(ALPHABET)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.TemplateProcessing(
        single=[*first, "$A"], special_tokens=[(letter, ALPHABET.index(letter)) for letter in set(first)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe)


TOKENIZER = byte_tokenizer()


def text_of(tokens: int, seed: int = 0) -> str:
    generator = torch.Generator().manual_seed(seed)
    return "".join(chr(97 + i) for i in torch.randint(0, 26, (tokens,), generator=generator).tolist())


def ids_of(text: str) -> Tensor:
    return torch.tensor(TOKENIZER(text)["input_ids"])


@pytest.fixture(scope="module")
def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=len(ALPHABET), num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2, **sizes
    )
    return LlamaForCausalLM(config).double()


@pytest.fixture(scope="module")
def in_gain_cells(llama: PreTrainedModel) -> PreTrainedModel:
    config = GainCellConfig.named("extended").replace(window=16, subtile_columns=4, score_saturation=4.0)
    model = LlamaForCausalLM(copy.deepcopy(llama.config)).double()
    model.load_state_dict(llama.state_dict())
    return gaincell.convert_(model, config)


@torch.no_grad()
def nll(model: PreTrainedModel, context: Tensor, target: Tensor) -> float:
    logits = model(context[None], use_cache=False).logits[0, -1].float()
    return float(nn.functional.cross_entropy(logits[None], target[None]))


@pytest.mark.parametrize("kind", ["llama", "in_gain_cells"])
def test_one_window_is_the_mean_of_its_tokens(kind: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)
    ids = ids_of(text_of(41))
    expected = math.exp(sum(nll(model, ids[:t], ids[t]) for t in range(1, 41)) / 40)
    found = gaincell.perplexity(model, TOKENIZER, text_of(41), length=64)
    assert found.perplexity == pytest.approx(expected, rel=1e-5)
    assert (found.tokens, found.length, found.stride) == (40, 64, 32)
    assert found.to_dict() == {"perplexity": found.perplexity, "tokens": 40, "length": 64, "stride": 32}


@pytest.mark.parametrize("kind", ["llama", "in_gain_cells"])
@pytest.mark.parametrize(("length", "stride", "tokens"), [(16, 4, 57), (16, 15, 40), (10, 1, 30), (24, 12, 200)])
def test_every_token_has_the_context_of_its_window(
    kind: str, length: int, stride: int, tokens: int, request: pytest.FixtureRequest
) -> None:
    model, ids = request.getfixturevalue(kind), ids_of(text_of(61))
    scored = range(1, min(61, tokens + 1))
    starts = [max(0, math.ceil((t - length + 1) / stride)) * stride for t in scored]
    assert all(t - start >= min(t, length - stride) for t, start in zip(scored, starts, strict=True))
    losses = [nll(model, ids[start:t], ids[t]) for t, start in zip(scored, starts, strict=True)]
    options: dict[str, Any] = {"length": length, "stride": stride, "tokens": tokens}
    for batch in (1, 3, 100):
        found = gaincell.perplexity(model, TOKENIZER, text_of(61), batch=batch, **options)
        assert found.tokens == len(losses)
        assert found.perplexity == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "in_gain_cells"])
@pytest.mark.parametrize(("length", "stride", "tokens"), [(16, 4, 57), (16, 15, 40), (24, 12, 200), (64, 32, 200)])
def test_what_a_tokenizer_puts_in_front_of_texts_begins_every_window(
    kind: str, length: int, stride: int, tokens: int, request: pytest.FixtureRequest
) -> None:
    """Every token is scored, the first one too, after that token and what its window holds of the text."""
    model, text, first = request.getfixturevalue(kind), text_of(61), torch.tensor([ALPHABET.index("!")])
    assert torch.equal(torch.tensor(byte_tokenizer("!")(text)["input_ids"]), torch.cat((first, ids_of(text))))
    assert prefix_of(byte_tokenizer("!")) == first.tolist()
    assert prefix_of(TOKENIZER) == []
    ids, own = ids_of(text), length - 1
    scored = range(min(61, tokens))
    starts = [max(0, math.ceil((t - own + 1) / stride)) * stride for t in scored]
    losses = [nll(model, torch.cat((first, ids[s:t])), ids[t]) for t, s in zip(scored, starts, strict=True)]
    for batch in (1, 3):
        found = gaincell.perplexity(
            model, byte_tokenizer("!"), text, length=length, stride=stride, tokens=tokens, batch=batch
        )
        assert found.losses == pytest.approx(losses, rel=1e-4, abs=1e-4)


def test_windows_without_room_for_the_first_token_are_refused(llama: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="leave no room for the 2 tokens"):
        gaincell.perplexity(llama, byte_tokenizer("!!"), text_of(30), length=9, stride=8, tokens=9)


class Unigram(nn.Module):
    """A language model without context: a token's loss does not depend on its window."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(3 * torch.randn(len(ALPHABET), generator=torch.Generator().manual_seed(4)))
        self.device, self.config = self.logits.device, SimpleNamespace()

    def forward(self, ids: Tensor, use_cache: bool) -> SimpleNamespace:
        assert not use_cache
        return SimpleNamespace(logits=self.logits.expand(*ids.shape, -1))


@given(
    size=st.integers(2, 300),
    length=st.integers(2, 64),
    stride=st.integers(1, 63),
    tokens=st.integers(1, 320),
    batch=st.integers(1, 5),
)
def test_every_token_is_scored_exactly_once(size: int, length: int, stride: int, tokens: int, batch: int) -> None:
    stride = min(stride, length - 1)
    model, text, steps = Unigram(), text_of(size, seed=size), []
    found = gaincell.perplexity(
        model, TOKENIZER, text, length=length, stride=stride, tokens=tokens, batch=batch,
        progress=lambda done, windows: steps.append((done, windows)),
    )  # fmt: skip
    expected = -model.logits.detach().log_softmax(0)[ids_of(text)[1 : tokens + 1]]
    assert found.tokens == len(expected)
    assert math.log(found.perplexity) == pytest.approx(float(expected.mean()), rel=1e-5)
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_the_packaged_text_is_the_default(llama: PreTrainedModel) -> None:
    found = gaincell.perplexity(llama, TOKENIZER, length=32, tokens=64)
    assert found == gaincell.perplexity(llama, TOKENIZER, default_text(), length=32, tokens=64)
    assert found.tokens == 64
    assert len(default_text()) > 500_000


@pytest.mark.parametrize("training", [True, False])
def test_a_model_comes_back_in_the_mode_it_went_in(llama: PreTrainedModel, training: bool) -> None:
    llama.train(training)
    gaincell.perplexity(llama, TOKENIZER, text_of(20), length=8)
    assert llama.training == training
    llama.eval()


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_without_a_token_to_score_is_refused(llama: PreTrainedModel, text: str) -> None:
    with pytest.raises(InputError, match="the text is empty"):
        gaincell.perplexity(llama, TOKENIZER, text)


@pytest.mark.parametrize(
    ("length", "stride", "tokens"), [(8, 0, 9), (8, -1, 9), (8, 8, 9), (1, None, 9), (0, None, 9), (8, 4, 0)]
)
def test_a_stride_or_length_that_makes_no_window_is_refused(
    llama: PreTrainedModel, length: int, stride: int | None, tokens: int
) -> None:
    with pytest.raises(InputError, match=r"needs 0 < stride < length and tokens >= 1; got .*\.$"):
        gaincell.perplexity(llama, TOKENIZER, text_of(30), length=length, stride=stride, tokens=tokens)


def test_a_window_beyond_the_models_positions_is_refused(llama: PreTrainedModel) -> None:
    longest = llama.config.max_position_embeddings
    with pytest.raises(InputError, match=f"length {longest + 9} exceed the model's {longest} positions"):
        gaincell.perplexity(llama, TOKENIZER, text_of(longest + 1), length=longest + 9)
    assert gaincell.perplexity(llama, TOKENIZER, text_of(30), length=longest + 9).tokens == 29


def test_files_are_read_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("Zwölf Boxkämpfer\n", "utf-8")
    assert load_text(path) == load_text(str(path)) == "Zwölf Boxkämpfer\n"
    assert load_text("speeches") == default_text()
    assert load_text("novel") == novel()
    assert novel().startswith("Chapter 1\n\nSir Walter Elliot")


def test_files_that_hold_no_text_are_refused_in_one_sentence(tmp_path: Path) -> None:
    latin, empty = tmp_path / "latin.txt", tmp_path / "empty.txt"
    latin.write_bytes("Zwölf".encode("latin-1"))
    empty.write_text(" \n", "utf-8")
    for path, said in (
        (latin, "latin.txt is not UTF-8 text"),
        (empty, "empty.txt is empty"),
        (tmp_path / "none.txt", "none.txt' is neither a file nor a packaged text"),
        (tmp_path, "neither a file"),
        (tmp_path / ("x" * 300), "neither a file"),
    ):
        with pytest.raises(InputError, match=said) as refusal:
            load_text(path)
        assert str(refusal.value).endswith(".")
        assert "\n" not in str(refusal.value)


@pytest.mark.slow
def test_the_demo_models_perplexity_is_a_language_models() -> None:
    torch.set_num_threads(2)
    model, tokenizer = gaincell.load_demo_model()
    found = gaincell.perplexity(model, tokenizer, length=512, tokens=1024)
    assert found.tokens == 1024
    assert 15 < found.perplexity < 28
