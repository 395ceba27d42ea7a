"""Text to learn from that the model writes itself."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.adapt.precision import computing
from gaincell.adapt.run.folder import Run
from gaincell.adapt.settings import AdaptSettings
from gaincell.adapt.text.cut import fingerprint
from gaincell.adapt.text.panel_refused import check_panel
from gaincell.errors import InputError
from gaincell.evaluate.text_prefix import prefix_of
from gaincell.models.attention_modules import positions_of
from gaincell.models.chat import apply_chat_template
from gaincell.models.fingerprint import base_hash
from gaincell.models.tensorfile import read_metadata, read_tensors, write_tensors
from gaincell.progress import Progress, of_stage

#: Called with (tokens of a row written, in all).
RowProgress = Callable[[int, int], None]

#: First words that the model goes on from, so that its text is not one genre.
OPENERS = (
    "The", "In", "When", "It", "A", "We", "On", "There", "For", "As", "Once", "After", "If", "You", "Many", "She",
    "How", "During", "One", "At", "He", "My", "What", "People", "From", "This", "Although", "By", "Since", "To", "I",
    "Each",
)  # fmt: skip
#: What a chat model is asked.
INSTRUCTIONS = (
    "Explain why the sky is blue.",
    "Write a short story about a lighthouse keeper.",
    "How do I cook rice without burning it?",
    "Give me three tips for learning a new language.",
    "What is the difference between weather and climate?",
    "Write a polite letter to a neighbour about noise.",
    "Summarise how a bill becomes a law.",
    "Describe a walk through a forest in autumn.",
    "What does a compiler do?",
    "Plan a weekend in a city by the sea.",
    "Why did the Roman Empire fall?",
    "Write a Python function that reverses a string, and explain it.",
    "How does a vaccine work?",
    "Compare tea and coffee.",
    "Tell me about a woman who changed science.",
    "What should I think about before I buy a used car?",
)
#: Of every eight texts, how they begin: after the token that begins texts, with a word, with a question, or amid a
#: text: the first token is the sink of all others, whatever it is, and openers are few.
MIX = ("word", "chat", "amid", "start", "word", "chat", "amid", "amid")
#: Tokens that a text which is taken up in its middle leaves out; fewer where the model has no positions for them.
LEFT_OUT = 16
#: Tokens of a text, its prefix not counted. Longer rows are several texts in turn: texts are written side by side, and
#: writing takes as many steps as a text has tokens, each of which reads all weights.
PIECE = 256
#: Texts that are written side by side, unless rows are more.
AT_ONCE = 128
_KEY = "gaincell_text"


@dataclass(frozen=True)
class Recipe:
    """What decides every token of a model's own text, but for the number of threads.

    Attributes:
        model: `gaincell.models.base_hash` of the model.
        openers: checksum of the token ids that rows may begin with.
        seed: of what is drawn.
        length: tokens of a row.
        temperature: 1 draws as the model says; lower ones favour the likelier tokens.
        block: rows that are written side by side; a row depends on the seed and its block alone.
        prefix: what the tokenizer puts in front of every text, and so in front of every row.
        piece: tokens of a text at most, prefix not counted.
    """

    model: str
    openers: str
    seed: int
    length: int
    temperature: float = 1.0
    block: int = 16
    prefix: list[int] = field(default_factory=list)
    piece: int = PIECE

    @property
    def texts(self) -> int:
        """Texts that a row consists of."""
        return max(1, -(-(self.length - len(self.prefix)) // self.piece))


def own_text(
    model: PreTrainedModel,
    tokenizer: Any,
    path: str | Path,
    rows: int,
    length: int,
    seed: int,
    progress: RowProgress | None = None,
    *,
    temperature: float = 1.0,
    block: int | None = None,
    piece: int = PIECE,
) -> Tensor:
    """Token ids (rows, length) that the model wrote, kept in a file together with their recipe.

    What the file holds is not written again: asking for more adds whole blocks, asking for fewer takes the first. The
    file grows after every block, so that a killed run goes on where it was.

    Args:
        model, tokenizer: the unconverted model, which writes.
        path: the file, safetensors.
        rows, length, seed, temperature, piece: see `write_text`.
        block: see there, too; by default the file's, and for a new file as many as are asked for, at most 64, or fewer
            of long ones (`AT_ONCE`).
        progress: called with (tokens of a row written, in all) over the blocks to write.

    Raises:
        InputError: the file is damaged, or holds the text of another recipe.
    """
    path = Path(path)
    found = read_metadata(path, _KEY, "a model's own text") if path.is_file() else {}
    recipe = Recipe(base_hash(model), opening(tokenizer), seed, length, temperature, 1, prefix_of(tokenizer), piece)
    if block is None:
        given, most = found.get("block"), max(1, min(64, AT_ONCE // recipe.texts))
        block = given if isinstance(given, int) else max(1, min(most, rows))
    recipe = replace(recipe, block=block)
    held = _held(path, recipe, found) if found else torch.zeros(0, length, dtype=torch.int64)
    first, blocks = len(held) // block, -(-rows // block)
    for number in range(first, blocks):
        report = _after(progress, number - first, blocks - first)
        held = torch.cat((held, _write_block(model, tokenizer, number, recipe, report)))
        # 32 bits hold any vocabulary, and half the file.
        write_tensors(path, {"ids": held.int()}, _KEY, asdict(recipe))
    return held[:rows]


def _held(path: Path, recipe: Recipe, found: dict[str, Any]) -> Tensor:
    """The text in a file whose recipe was found to be that."""
    # Text of a tokenizer with a prefix was once written without, and rows were one text each.
    found = {"prefix": [], "piece": max(recipe.length, recipe.piece), **found}
    differing = sorted(key for key, value in asdict(recipe).items() if found.get(key) != value)
    if differing:
        raise InputError(f"{path} holds text of another recipe ({', '.join(differing)} differ); choose another.")
    return read_tensors(path)["ids"].long()


def _after(progress: RowProgress | None, before: int, blocks: int) -> RowProgress:
    """Tells `progress` how far one of so many blocks is, where others were written before it."""

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(before * total + done, blocks * total)

    return report


def check_written(path: Path, rows: int) -> None:
    """Raise InputError unless a file holds so many rows."""
    if not path.is_file() or len(read_tensors(path)["ids"]) < rows:
        raise InputError(f"{path} has not {rows} rows of the model's own text yet; let the run go on.")


def opening(tokenizer: Any) -> str:
    """A checksum of what rows begin with.

    Raises:
        InputError: the tokenizer's chat template fails.
    """
    return fingerprint({str(row): _prompt(tokenizer, row) for row in range(len(OPENERS) * len(MIX))})


def write_text(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: int,
    length: int,
    seed: int,
    progress: RowProgress | None = None,
    *,
    temperature: float = 1.0,
    block: int = 16,
    piece: int = PIECE,
) -> Tensor:
    """Token ids (rows, length) that the unconverted model writes after openers of several kinds (see `MIX`).

    A row is one text, or of more than `piece` tokens several in turn, which begin in different ways. In front of it
    stands what the tokenizer puts in front of a text, where it begins in the middle of one, too. It depends on the seed
    and on its block of `block` rows alone, so that the first rows stay the same however many are asked for. The same
    seed, model and thread count give the same text.

    Args:
        model, tokenizer: the model that writes; questions are asked where the tokenizer has a chat template.
        rows, length: rows and their tokens, opener included.
        seed: of what is drawn.
        progress: called with (tokens of a row written, in all).
        temperature: 1 draws as the model says.
        block: rows written side by side; more are faster, and make another text.
        piece: tokens of a text at most, prefix not counted.
    """
    recipe = Recipe("", "", seed, length, temperature, block, prefix_of(tokenizer), piece)
    blocks = -(-rows // block)
    parts = []
    for number in range(blocks):
        parts.append(_write_block(model, tokenizer, number, recipe, _after(progress, number, blocks)))
    return torch.cat(parts)[:rows]


def _write_block(model: PreTrainedModel, tokenizer: Any, number: int, recipe: Recipe, progress: RowProgress) -> Tensor:
    """Rows number * block to (number + 1) * block, on the CPU."""
    prefix, each = len(recipe.prefix), recipe.texts
    own = recipe.length - prefix
    texts = range(number * recipe.block * each, (number + 1) * recipe.block * each)
    written = _write_texts(model, tokenizer, texts, prefix + min(own, recipe.piece), number, recipe, progress)
    rows = written[:, prefix:].reshape(recipe.block, -1)[:, :own]
    return torch.cat((torch.tensor([recipe.prefix] * len(rows), dtype=rows.dtype).view(len(rows), prefix), rows), 1)


@torch.no_grad()
def _write_texts(
    model: PreTrainedModel,
    tokenizer: Any,
    texts: range,
    length: int,
    number: int,
    recipe: Recipe,
    progress: RowProgress,
) -> Tensor:
    """So many texts (N, length), on the CPU; prompts of different lengths run side by side."""
    chats = [_kind(tokenizer, text) == "chat" for text in texts]
    turns = [0] * len(texts)
    # Per text, the tokens of its prompt that are still to come, the next one last.
    coming = [_prompt(tokenizer, text)[::-1] for text in texts]
    new = torch.tensor([[prompt.pop()] for prompt in coming], device=model.device)
    written = [new]
    state = np.random.SeedSequence([recipe.seed, number]).generate_state(1, np.uint64)
    generator = torch.Generator(device=model.device).manual_seed(int(state[0]))
    ends = torch.tensor(chats, device=model.device)
    cache = None
    was_training = model.training
    model.eval()
    try:
        steps = min(length + LEFT_OUT, positions_of(model) or length + LEFT_OUT)
        for step in range(1, steps):
            result = model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = result.past_key_values
            logits = result.logits[:, -1].float() / recipe.temperature
            may_end = logits[:, tokenizer.eos_token_id].clone() if any(chats) else None
            logits[:, _special(tokenizer, logits.shape[-1])] = -torch.inf  # a text goes on to its last token
            if may_end is not None:  # an answer may end; the next question follows
                logits[:, tokenizer.eos_token_id] = torch.where(ends, may_end, -torch.inf)
            new = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens = new[:, 0].tolist()
            for i, prompt in enumerate(coming):
                if prompt:
                    tokens[i] = prompt.pop()
                elif chats[i] and tokens[i] == tokenizer.eos_token_id:
                    turns[i] += 1
                    prompt.extend(_question(tokenizer, texts[i] // 4 + 5 * turns[i])[::-1])
            new = torch.tensor(tokens, device=model.device)[:, None]
            written.append(new)
            progress(step, steps - 1)
    finally:
        model.train(was_training)
    found = torch.cat(written, 1).cpu()
    first = [steps - length if MIX[text % len(MIX)] == "amid" else 0 for text in texts]
    return torch.stack([text[start : start + length] for text, start in zip(found, first, strict=True)])


def _special(tokenizer: Any, words: int) -> list[int]:
    """Tokens that begin, end or pad a text; a tokenizer may have one to pad with that the model of so many lacks."""
    special = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    return sorted({token for token in special if token is not None and token < words})


def _kind(tokenizer: Any, text: int) -> str:
    """How a text begins; with a word where the tokenizer has not what the mix asks for."""
    kind = MIX[text % len(MIX)]
    has_chat = getattr(tokenizer, "chat_template", None) is not None and tokenizer.eos_token_id is not None
    has = {"word": True, "amid": False, "chat": has_chat, "start": tokenizer.bos_token_id is not None}
    return kind if has[kind] else "word"


def _prompt(tokenizer: Any, text: int) -> list[int]:
    """The token ids that a text begins with."""
    kind, prefix = _kind(tokenizer, text), prefix_of(tokenizer)
    if kind == "start":
        return prefix or [tokenizer.bos_token_id]
    if kind == "chat":
        return prefix + _question(tokenizer, text // 4)  # every fourth text asks
    word = OPENERS[(text + text // len(MIX)) % len(OPENERS)]
    return prefix + list(tokenizer(word, add_special_tokens=False)["input_ids"])


def _question(tokenizer: Any, number: int) -> list[int]:
    """A question's token ids, without what begins a text: templates write that themselves, or leave it out."""
    messages = [{"role": "user", "content": INSTRUCTIONS[number % len(INSTRUCTIONS)]}]
    text = apply_chat_template(tokenizer, messages, tokenize=False)
    ids, prefix = list(tokenizer(text, add_special_tokens=False)["input_ids"]), prefix_of(tokenizer)
    return ids[len(prefix) :] if prefix and ids[: len(prefix)] == prefix else ids


def own_rows(
    model: PreTrainedModel,
    tokenizer: Any,
    run: Run,
    settings: AdaptSettings,
    progress: Progress | None,
    *,
    distilling: bool,
    learn: bool,
) -> Tensor:
    """Token ids (N, length) that the original model writes, kept in the run's folder; without `learn`, has written.

    N is `settings.rows`, or as many more as it takes that distillation meets none of them too often.
    """
    wanted = math.ceil(settings.distill.tokens / (settings.length * settings.distill.repeats)) if distilling else 0
    path, count = run.folder / "calibration.safetensors", max(settings.rows, wanted)
    if not learn:
        check_written(path, count)
    with computing(settings, model.device):
        rows = own_text(model, tokenizer, path, count, settings.length, settings.seed, of_stage(progress, "text"))
    if learn:
        check_panel(tokenizer, None, rows)
    return rows
