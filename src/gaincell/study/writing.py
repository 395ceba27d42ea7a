"""Let a model write, and look at the cache it used."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gaincell.errors import InputError
from gaincell.progress import Progress
from gaincell.study.models import attention_of, check_positions

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: What models are asked to go on from, side by side.
PROMPTS = (
    "The most important thing about the ocean is",
    "Once upon a time, in a small village by the mountains,",
    "To bake a loaf of bread, you first need to",
)

#: Of two bytes each, in a bfloat16 cache.
_BF16_BYTES = 2


@dataclass(frozen=True)
class Continuation:
    """What a model wrote.

    Attributes:
        attention: what the model attends with: its design point's name, or softmax.
        text: the new text, without the prompt.
        tokens: new tokens.
        seconds: time it took.
        cache_bytes_per_token: of the ring, over all layers; None for a model that is not converted.
        bf16_cache_bytes_per_token: what a bfloat16 cache of the same keys and values takes.
    """

    attention: str
    text: str
    tokens: int
    seconds: float
    cache_bytes_per_token: float | None
    bf16_cache_bytes_per_token: float


def write(
    model: "PreTrainedModel",
    tokenizer: Any,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    chat: bool = False,
    streamer: Any = None,
) -> Continuation:
    """Go on from a prompt, with transformers' own `generate`; temperature 0 takes the likeliest token every time.

    Raises:
        InputError: a prompt without tokens, more tokens than the model has positions, or `chat` with a tokenizer that
            has no chat template.
    """
    import torch

    from gaincell.hardware import read_workload
    from gaincell.models import RingCache, scalers_of

    inputs = _encode(tokenizer, prompt, chat).to(model.device)
    check_positions(model, inputs.shape[1] + max_new_tokens, "generation")
    cache = RingCache(model) if scalers_of(model) else None
    how = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
    began = time.perf_counter()
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        output: Any = model.generate(  # pyright: ignore[reportCallIssue]
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            past_key_values=cache,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            streamer=streamer,
            **how,
        )
    seconds = time.perf_counter() - began
    new = output[0, inputs.shape[1] :]
    return Continuation(
        attention_of(model),
        tokenizer.decode(new, skip_special_tokens=True),
        len(new),
        seconds,
        cache.bytes_per_token if cache is not None else None,
        read_workload(model.config).cached * _BF16_BYTES,
    )


def side_by_side(
    original: "PreTrainedModel", adapted: "PreTrainedModel", tokenizer: Any, progress: Progress, **how: Any
) -> list[dict[str, str]]:
    """Both models go on from the same `PROMPTS`, as `write` is told: prompt, original, adapted."""
    texts = []
    for done, prompt in enumerate(PROMPTS):
        progress("samples", done, len(PROMPTS))
        both = [write(model, tokenizer, prompt, **how).text for model in (original, adapted)]
        texts.append({"prompt": prompt, "original": both[0], "adapted": both[1]})
    progress("samples", len(PROMPTS), len(PROMPTS))
    return texts


def _encode(tokenizer: Any, prompt: str, chat: bool) -> Any:
    """Token ids (1, T)."""
    if chat and not getattr(tokenizer, "chat_template", None):
        raise InputError("this model's tokenizer has no chat template; leave out --chat.")
    if chat:
        from gaincell.models.chat import apply_chat_template

        messages = [{"role": "user", "content": prompt}]
        encoded = apply_chat_template(tokenizer, messages, return_tensors="pt", return_dict=True)
    else:
        encoded = tokenizer(prompt, return_tensors="pt")
    ids = encoded["input_ids"]
    if not ids.shape[-1]:
        raise InputError("the prompt is empty; give some words to go on from.")
    return ids.long()
