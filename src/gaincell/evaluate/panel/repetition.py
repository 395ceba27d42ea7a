"""How much a model repeats itself where it writes what is likeliest."""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

#: Tokens of the phrases that are counted.
PHRASE = 4


def repeated_share(tokens: Sequence[int], phrase: int = PHRASE) -> float:
    """Share of a text's phrases (of `phrase` tokens in a row) that were in it before: 1 - distinct / all.

    The measure seq-rep-n of Welleck et al. 2020 (Neural Text Generation with Unlikelihood Training, arXiv:1908.04319),
    there too with n = 4 and for greedy decoding. 0 where no phrase comes twice, and of a text without any.
    """
    phrases = [tuple(tokens[i : i + phrase]) for i in range(len(tokens) - phrase + 1)]
    return 1 - len(set(phrases)) / len(phrases) if phrases else 0.0


@torch.no_grad()
def continuations(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    barred: Sequence[int] = (),
    progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """What a model writes after prompts of equal length, the likeliest token every time, side by side.

    Args:
        model: a causal language model, converted or not.
        prompts: token ids.
        new_tokens: how many to write after each.
        barred: tokens that are never written: with those that end a text among them, all are equally long.
        progress: called with the tokens written after each.
    """
    new = torch.tensor(list(map(list, prompts)), device=model.device)
    cache = None
    written = []
    for step in range(new_tokens):
        result = model(new, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = result.past_key_values
        logits = result.logits[:, -1].float()
        logits[:, list(barred)] = -torch.inf
        new = logits.argmax(-1, keepdim=True)
        written.append(new)
        if progress is not None:
            progress(step + 1)
    return torch.cat(written, 1).tolist()
