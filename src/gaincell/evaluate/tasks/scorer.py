"""A model, converted or not, as the harness scores it, with answers that survive a kill."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel

from gaincell.errors import InputError
from gaincell.evaluate.text_prefix import prefix_of

Answer = tuple[float, bool]

_Harness: Any = HFLM  # a decorator hides its type


class Scorer(_Harness):
    """The harness's own wrapper of a Hugging Face model, which sorts by length and pads on the right.

    Causal attention never reaches what is padded on the right, so a converted model needs no mask. What the tokenizer
    puts in front of every text stands in front of every context, of one that had to be cut and of every window, too:
    the harness itself loses it there.

    Args:
        model, tokenizer: a causal language model and its tokenizer.
        batch: requests a forward pass.
        answers: where answers are kept as they come; those that are there are not computed again.
        progress: called with (answers there, answers in all).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        *,
        batch: int,
        answers: "Answers",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch)
        model.eval()
        self._answers, self._progress, self._asked = answers, progress, (0, 0)
        self._prefix = prefix_of(tokenizer)
        self.set_cache_hook(self)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[Answer]:
        """Log-likelihood of each continuation after its context, and whether greedy decoding gives it."""
        known = [self._answers.find(request.args) for request in requests]
        missing = [request for request, answer in zip(requests, known, strict=True) if answer is None]
        self._asked = (len(requests) - len(missing), len(requests))
        self._tell(0)
        fresh = iter(super().loglikelihood(missing, disable_tqdm=disable_tqdm) if missing else [])
        return [next(fresh) if answer is None else answer for answer in known]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each text, in windows of all the positions that the model has.

        One text at a time: what is done survives a kill. And one window: its logits take positions x vocabulary x 4
        bytes, twice over with their softmax, which are 3 GB at 8,192 positions and 49,152 tokens.
        """
        found: list[float] = []
        for done, request in enumerate(requests):
            self._asked = (done, len(requests))
            self._tell(0)
            if self._answers.find(self._whole(request.args)) is None:
                with patch.object(self, "batch_size_per_gpu", 1):
                    if self._prefix:
                        self.add_partial("loglikelihood_rolling", request.args, self._in_windows(*request.args))
                    else:
                        super().loglikelihood_rolling([request], disable_tqdm=disable_tqdm)
            answer = self._answers.find(self._whole(request.args))
            assert answer is not None  # `add_partial` was called
            found.append(answer[0])
        self._asked = (len(requests), len(requests))
        self._tell(0)
        return found

    def add_partial(self, attribute: str, request: tuple[str, ...], answer: Answer | float) -> None:
        """What the harness calls with every single answer; of a whole text nobody asks whether it is greedy."""
        if isinstance(answer, tuple):
            self._answers.keep(request, answer)
            self._tell(1)
        elif attribute == "loglikelihood_rolling":
            self._answers.keep(self._whole(request), (answer, False))

    def _whole(self, request: tuple[str, ...]) -> tuple[Any, ...]:
        """A whole text, with what its windows depend on: how long they are, and which tokens come first."""
        return *request, self.max_length, self._prefix or self.prefix_token_id

    def _in_windows(self, text: str) -> float:
        """Log-likelihood of a text cut into windows, each of which begins with the prefix."""
        ids = self.tok_encode(text, add_special_tokens=False)
        own = self.max_length + 1 - len(self._prefix)  # the last token is asked for and not read
        windows = [(None, self._prefix, ids[start : start + own]) for start in range(0, len(ids), own)]
        return sum(score for score, _ in self._loglikelihood_tokens(windows))

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = True, override_bs: int | None = None) -> Any:
        requests = [(words, self._cut(context, len(asked)), asked) for words, context, asked in requests]
        return super()._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=override_bs)

    def _cut(self, context: list[int], asked: int) -> list[int]:
        """A context as it is where the model has the positions for it and its continuation, else its end."""
        prefix = self._prefix
        room = self.max_length + 1 - asked - len(prefix)
        over = len(context) - len(prefix) > room >= 0 and context[: len(prefix)] == prefix
        return prefix + context[len(context) - room :] if prefix and over else context

    def _tell(self, new: int) -> None:
        done, asked = self._asked
        self._asked = (done + new, asked)
        if self._progress is not None and asked:
            self._progress(min(done + new, asked), asked)

    def _model_call(self, inps: torch.Tensor, attn_mask: Any = None, labels: Any = None) -> torch.Tensor:
        with torch.no_grad():
            return self.model(inps, use_cache=False).logits


class Answers:
    """Answers of one model, a line each in a JSON Lines file; a line that a kill cut short is dropped.

    Args:
        path: the file; None keeps them in memory alone.
        model: what the model is, in a few words that never change; see `identity`.

    Raises:
        InputError: the file belongs to another model, or is none of these.
    """

    def __init__(self, path: Path | None, model: str) -> None:
        self._known: dict[str, Answer] = {}
        self._file = None
        if path is None:
            return
        whole = self._read(path, model) if path.is_file() else 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        os.truncate(path, whole)
        if not whole:
            self._write({"model": model})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def find(self, request: tuple[Any, ...]) -> Answer | None:
        """The answer to a context and its continuation, if there is one."""
        return self._known.get(_key(request))

    def keep(self, request: tuple[Any, ...], answer: Answer) -> None:
        """Keep an answer, on disk too."""
        self._known[_key(request)] = answer
        self._write([_key(request), *answer])

    def _write(self, line: Any) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    def _read(self, path: Path, model: str) -> int:
        """Read what is there, and tell how many bytes of it are whole lines."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        try:
            first, *rest = [json.loads(line) for line in content[:whole].splitlines()] or [{"model": model}]
            theirs = first["model"]
            self._known = {key: (float(score), bool(greedy)) for key, score, greedy in rest}
        except (ValueError, TypeError, KeyError):
            raise InputError(f"{path} is damaged; delete it, or give another --out.") from None
        if theirs != model:
            raise InputError(f"{path} holds answers of another model or version; give another --out.")
        return whole


def _key(request: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()[:32]
