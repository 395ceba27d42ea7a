"""Train a small language model of another family than the demo's: `python tools/train_small_models.py gemma`.

What adaptation promises for any model has to hold for real ones: weights that predict text from its context, and that
never saw a text without BOS. These are as small as such a model can be, and are kept in `tests/adapt/models`, whose
README has the commands and what came out. Everything is float32 on a CPU, and a run that was killed goes on from its
last checkpoint. The matrices learn by Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), all else by
Adam.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from gaincell.atomic import written_aside
from gaincell.evaluate.perplexity import encode, perplexity
from gaincell.evaluate.text import default_text, library, novel

VOCABULARY = 2048
BATCH = 2048  # tokens of a step
LENGTHS = (128, 256, 128, 512)  # tokens of a row, in turn from step to step: short rows are cheap
WARMUP, DECAY_FROM = 20, 0.5  # steps until the full rate; share of them after which it falls
MATRIX_RATE, OTHER_RATE, DECAY = 0.02, 1e-2, 0.1
MOMENTUM = 0.95
CHECKPOINT_EVERY = 20
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": None,
    "pad_token_id": None,
    "tie_word_embeddings": True,
}


def gemma() -> PreTrainedModel:
    """Gemma 3: one key/value head of 256 channels, a norm behind each block, windows of 128 in three layers of four."""
    layers = ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]
    config = Gemma3TextConfig(
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=256,
        query_pre_attn_scalar=256,
        sliding_window=128,
        layer_types=layers,
        **COMMON,
    )
    return Gemma3ForCausalLM(config)


def qwen() -> PreTrainedModel:
    """Qwen 3: two query heads to each of two key/value heads of 128 channels, norms of queries and keys."""
    return Qwen3ForCausalLM(Qwen3Config(num_attention_heads=4, num_key_value_heads=2, head_dim=128, **COMMON))


FAMILIES = {"gemma": gemma, "qwen": qwen}


def make_tokenizer(text: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE that puts <bos> in front of every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<bos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text.split("\n\n"), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", model_max_length=512)


class Muon:
    """Momentum whose matrix is made orthogonal before it is added, so that a rate is relative to no gradient's size."""

    def __init__(self, matrices: list[nn.Parameter]) -> None:
        self.matrices = matrices
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for matrix, momentum in zip(self.matrices, self.momenta, strict=True):
            assert matrix.grad is not None
            momentum.lerp_(matrix.grad, 1 - MOMENTUM)
            ahead = torch.lerp(matrix.grad, momentum, MOMENTUM)
            rows, columns = matrix.shape
            matrix.mul_(1 - rate * DECAY)
            matrix.add_(orthogonal(ahead), alpha=-rate * max(1, rows / columns) ** 0.5)
            matrix.grad = None


def orthogonal(matrix: Tensor) -> Tensor:
    """About U Vᵀ of the matrix's U S Vᵀ: five steps of a Newton-Schulz iteration that brings S near 1."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if wide is not matrix else x


def draw_rows(ids: Tensor, paragraphs: Tensor, length: int, step: int, seed: int) -> Tensor:
    """The rows of a step, (B, length): BOS, then text from anywhere, in every second row from a paragraph's start."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    starts = torch.randint(len(ids) - length, (BATCH // length,), generator=generator)
    starts[::2] = paragraphs[torch.searchsorted(paragraphs, starts[::2].contiguous()).clamp(max=len(paragraphs) - 1)]
    rows = ids[starts.clamp(max=len(ids) - length)[:, None] + torch.arange(length - 1)]
    return torch.cat((torch.zeros(len(rows), 1, dtype=torch.long), rows), 1)


def rate_at(step: int, steps: int) -> float:
    """Share of the peak rate: up, level, and down to zero."""
    return min(1.0, (step + 1) / WARMUP, (1 - step / steps) / (1 - DECAY_FROM))


def loss_of(model: PreTrainedModel, rows: Tensor) -> Tensor:
    """Mean negative log-likelihood of a token, in nats."""
    logits = model(rows, use_cache=False).logits[:, :-1]
    return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())


def train(family: str, text: str, out: Path, steps: int, seed: int) -> PreTrainedModel:
    """Train on a text, tell how it goes, and leave the model in `out`/model, in bfloat16, and return what is there."""
    tokenizer = make_tokenizer(text)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, places = torch.tensor(encoded["input_ids"]), [at for at, _ in encoded["offset_mapping"]]
    paragraphs = torch.tensor([i for i, at in enumerate(places) if text[max(0, at - 2) : at] in ("", "\n\n")])
    torch.manual_seed(seed)
    model = FAMILIES[family]()
    named = dict(model.named_parameters())
    matrices = [p for name, p in named.items() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in named.items() if p.dim() != 2 or "embed" in name]
    muon, adam = Muon(matrices), torch.optim.Adam(others, betas=(0.9, 0.98))
    print(f"{family}: {sum(p.numel() for p in named.values()):,} parameters, {len(ids):,} tokens of text", flush=True)

    first, mean, checkpoint = 0, math.log(VOCABULARY), out / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        adam.load_state_dict(state["adam"])
        muon.momenta, first, mean = state["momenta"], state["step"], state["mean"]
    began = time.process_time()
    for step in range(first, steps):
        rate = rate_at(step, steps)
        loss = loss_of(model, draw_rows(ids, paragraphs, LENGTHS[step % len(LENGTHS)], step, seed))
        loss.backward()
        muon.step(MATRIX_RATE * rate)
        nn.utils.clip_grad_norm_(others, 1.0)
        adam.param_groups[0]["lr"] = OTHER_RATE * rate
        adam.step()
        adam.zero_grad()
        mean = 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            print(json.dumps({"step": step + 1, "loss": mean, "cpu_s": time.process_time() - began}), flush=True)
            state = {"model": model.state_dict(), "adam": adam.state_dict(), "momenta": muon.momenta}
            with written_aside(checkpoint) as aside:
                torch.save(state | {"step": step + 1, "mean": mean}, aside)
    tokenizer.save_pretrained(out / "model")
    model.to(torch.bfloat16).save_pretrained(out / "model")
    return model.float()


def tell(model: PreTrainedModel, folder: Path, learned: str) -> None:
    """Print what the model makes of texts that it never saw, by how much of them it sees at once."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = torch.bincount(torch.tensor(encode(tokenizer, learned)), minlength=VOCABULARY) + 1.0
    for name, text in (("speeches", default_text()), ("novel", novel())):
        surprise = -(counts / counts.sum()).log()[encode(tokenizer, text)].mean()
        figures = [f"unigram {surprise.exp():.0f}"]
        for length in (8, 16, 64, 256, 512):
            found = perplexity(model, tokenizer, text, length=length, tokens=8192, batch=8)
            figures.append(f"{length} tokens {found.perplexity:.1f}")
        print(f"{name}: perplexity by " + ", ".join(figures), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument(
        "--out", type=Path, help="a folder, or one that a killed run left; runs/small-FAMILY by default"
    )
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.out or Path("runs") / f"small-{given.family}"
    text = library().strip()
    tell(train(given.family, text, folder, given.steps, given.seed), folder / "model", text)
