"""Text to learn from: what the model writes itself, or a file."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.errors import InputError
from gaincell.evaluate.perplexity import encode

#: First words that the model goes on from, so that its text is not one genre.
OPENERS = (
    "The", "In", "When", "It", "A", "We", "On", "There", "For", "As", "Once", "After", "If", "You", "Many", "She",
    "How", "During", "One", "At", "He", "My", "What", "People", "From", "This", "Although", "By", "Since", "To", "I",
    "Each",
)  # fmt: skip


@torch.no_grad()
def write_text(
    model: PreTrainedModel,
    tokenizer: Any,
    sequences: int,
    length: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Token ids (sequences, length) that the unconverted model writes at temperature 1 after short openers.

    The same seed, model and thread count give the same text.
    """
    openers = [tokenizer(OPENERS[i % len(OPENERS)], add_special_tokens=False)["input_ids"][0] for i in range(sequences)]
    ids = torch.tensor(openers, device=model.device)[:, None]
    generator = torch.Generator(device=model.device).manual_seed(seed)
    end = {i for i in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id) if i is not None}
    cache, new = None, ids
    was_training = model.training
    model.eval()
    try:
        for step in range(1, length):
            result = model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = result.past_key_values
            logits = result.logits[:, -1].float()
            logits[:, list(end)] = -torch.inf  # one sequence is one text: no end, no chat turns
            new = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            ids = torch.cat((ids, new), 1)
            if progress is not None:
                progress(step, length - 1)
    finally:
        model.train(was_training)
    return ids


def read_sequences(tokenizer: Any, text: str, sequences: int, length: int) -> Tensor:
    """The first `sequences` x `length` tokens of a text as rows.

    Raises:
        InputError: the text is shorter than that.
    """
    ids = encode(tokenizer, text, sequences * length)
    if len(ids) < sequences * length:
        raise InputError(
            f"the text holds {len(ids)} tokens, but adaptation asks for {sequences} x {length}; "
            "give a longer text, or fewer sequences."
        )
    return torch.tensor(ids[: sequences * length]).view(sequences, length)


def fingerprint(value: Tensor | dict[str, Any]) -> str:
    """A short checksum of token ids or of settings."""
    if isinstance(value, Tensor):
        data = f"{tuple(value.shape)} {value.dtype} ".encode() + value.cpu().numpy().tobytes()
    else:
        data = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]
