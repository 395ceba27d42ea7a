"""What a tokenizer puts in front of every text."""

from typing import Any


def prefix_of(tokenizer: Any) -> list[int]:
    """The special tokens that a tokenizer puts in front of a text, [BOS] mostly; [] for one that puts nothing there.

    Models whose tokenizer does (Llama, Gemma, Mistral) never saw a text without: left out, the first word of every row
    becomes the sink that BOS was, and what they predict is no longer what they learned.
    """
    bare = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    whole = list(tokenizer("a", add_special_tokens=True)["input_ids"])
    starts = range(len(whole) - len(bare) + 1)
    return next((whole[:start] for start in starts if whole[start : start + len(bare)] == bare), [])
