"""As much of a tokenizer as the texts of these tests need."""

from typing import Any


class Letters:
    """One token a letter."""

    bos_token_id = eos_token_id = pad_token_id = 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 96 + 1 for letter in text]}

    def batch_decode(self, rows: list[list[int]], **_: Any) -> list[str]:
        return ["".join(chr(token + 31) for token in row) for row in rows]
