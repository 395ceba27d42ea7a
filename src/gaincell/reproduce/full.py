"""The paper's own scale: what it takes, and the commands that do it for those who have it."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from gaincell.errors import InputError
from gaincell.hardware.decoder import GPT2
from gaincell.hardware.roofline import H100_SXM
from gaincell.reproduce import published

MODEL = "openai-community/gpt2"
TEXT = "Skylion007/openwebtext"
#: Rows of 1,024 tokens that a GPU takes at once, and how often all GPUs together do so in an iteration [released code].
MICRO_BATCH, PASSES = 16, 120
LENGTH = 1024
#: GPT-2's tokens in OpenWebText, as nanoGPT's preparation, which the authors use, counts them.
OPENWEBTEXT_TOKENS = 9_035_582_198
#: "Total estimated time: ~4 days on 8 Nvidia H100 80 Gb GPUs, ~16 days on 8 Nvidia RTX 4090 24 Gb" [released code,
#: README], where the two trainings have 3,000 and 13,000 iterations, of 16 and of 12 rows at once.
AUTHORS_H100_HOURS, AUTHORS_RTX4090_HOURS = 4 * 24 * 8, 16 * 24 * 8
AUTHORS_TOKENS = (3000 * 16 + 13_000 * 12) * PASSES * LENGTH
#: Documents that become tokens at once.
_DOCUMENTS = 256


@dataclass(frozen=True)
class FullScale:
    """The paper's recipe on its own model and text; with another model and text only the scale differs.

    Attributes:
        model: a model folder, or a name on the hub.
        text: a text file, or a data set: a folder, or a name on the hub.
        processes: processes that learn, one a GPU.
        given: settings of adaptation that differ from the published amounts.
    """

    model: str = MODEL
    text: str = TEXT
    processes: int = 8
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of adaptation: the published amounts, and what was given in their place."""
        amounts = {
            "distill_batch": MICRO_BATCH * PASSES,
            "distill_length": LENGTH,
            "distill_tokens": (published.LINEAR_ITERATIONS + published.CUBIC_ITERATIONS) * published.ITERATION_TOKENS,
            "statistics_sequences": MICRO_BATCH,
            "distill_precision": "bf16",
            "distill_checkpoint_every": 100,
        }
        if "distill_batch" not in self.given:
            if PASSES % self.processes:
                raise InputError(
                    f"an iteration is {PASSES} passes of {MICRO_BATCH} rows, which {self.processes} processes cannot "
                    "share evenly; choose a number that divides 120."
                )
            amounts["distill_accumulation"] = PASSES // self.processes
        return {**amounts, **self.given}

    @property
    def rows(self) -> int:
        """Rows of text to have: all that is learned on, or all of OpenWebText where that is less."""
        length, tokens = self.settings["distill_length"], self.settings["distill_tokens"]
        return -(-min(tokens, OPENWEBTEXT_TOKENS) // length)

    def command(self, folder: Path) -> list[str]:
        """What learns in `folder`/run from `folder`/tokens.npy: `gaincell adapt`, launched by accelerate if several."""
        launch = [sys.executable, "-m"]
        if self.processes > 1:
            launch += ["accelerate.commands.launch", "--num_processes", str(self.processes), "--module"]
        how = [
            "--recipe",
            "paper",
            "--config",
            "leroux2025",
            "--tokens",
            folder / "tokens.npy",
            "--out",
            folder / "run",
        ]
        amounts = [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        return [*map(str, (*launch, "gaincell.cli", "adapt", self.model, *how)), *amounts]

    def table(self) -> list[tuple[str, str, str]]:
        """What, how much, and where that is from."""
        from gaincell.adapt.recipe import split_steps

        s, recipe = self.settings, "Leroux et al. 2025, released code"
        rows, length, tokens = s["distill_batch"], s["distill_length"], s["distill_tokens"]
        linear, cubic = split_steps(round(tokens / (rows * length)))
        own = ", ".join(f"{name}={value}" for name, value in self.given.items())
        passes = f"{recipe}: 120 x 16 rows; of the nonlinear model 120 x 12, here as many as of the linear one"
        return [
            ("model", self.model, "in the paper GPT-2, of 124M parameters"),
            ("text", self.text, f"in the paper OpenWebText: {OPENWEBTEXT_TOKENS:,} tokens (nanoGPT's count)"),
            ("iterations of the linear model", f"{linear:,}", "where the released training curves end: 2,900"),
            ("iterations of the nonlinear model", f"{cubic:,}", "where the released training curves end: 5,900"),
            ("an iteration", f"{rows:,} rows of {length:,} tokens", passes),
            ("tokens in all", f"{tokens:,}", "the product"),
            ("optimiser", "AdamW, rate 6e-4, betas (0.9, 0.95), decay 0.1, clipped at 1", recipe),
            ("warm-up", "a third of the iterations", f"{recipe}: 2,000 iterations, a third of 5,900"),
            ("end of the cosine", "zero", "an assumption; in the released code it takes 600,000 iterations"),
            ("processes", f"{self.processes:,}", "one a GPU; in the released commands 4"),
            *([("in place of the above", own, "--set")] if own else []),
        ]

    def cost(self) -> list[tuple[str, str, str]]:
        """What it is estimated to take, and from what; learning for GPT-2's size, without the tasks."""
        tokens, kept = self.settings["distill_tokens"], self.rows * self.settings["distill_length"]
        share = tokens / AUTHORS_TOKENS
        operations = 6 * GPT2.weights * tokens
        readme = "their README's 4 days (RTX 4090: 16) on 8 GPUs for 3,000 and 13,000 iterations, by tokens"
        least = f"{operations:.2g} operations (6 a weight and token) at the datasheet's rate, attention left out"
        return [
            ("GPU hours, H100", f"{AUTHORS_H100_HOURS * share:,.0f}", readme),
            ("GPU hours, RTX 4090", f"{AUTHORS_RTX4090_HOURS * share:,.0f}", readme),
            ("GPU hours, H100, at the very least", f"{operations / H100_SXM.flop_per_s / 3600:.1f}", least),
            ("disk for tokens", f"{4 * kept / 1e9:.1f} GB", "4 bytes a token"),
            ("disk for checkpoints", f"{48 * GPT2.weights / 1e9:.1f} GB", "two of either training, 12 bytes a weight"),
            ("memory of the first process", f"{2 * kept / 1e9:.1f} GB", "a byte a token tells what was learned, twice"),
        ]


def write_tokens(
    documents: Iterator[str],
    tokenizer: Any,
    path: Path,
    length: int,
    most: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Tokens of documents, each ended by the tokenizer's end of text, as rows of int32 in a .npy file.

    Args:
        documents: the text.
        tokenizer: the model's.
        path: written whole or not at all.
        length: tokens of a row, with what the tokenizer puts in front of every text; what is left over of the last one
            is dropped.
        most: rows to write at most.
        progress: called with (rows, most).

    Returns:
        How many rows there are.

    Raises:
        InputError: the text is shorter than one row.
    """
    import numpy as np
    from numpy.lib import format as npy

    from gaincell.aside import written_aside
    from gaincell.evaluate.prefix import prefix_of

    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    prefix = np.array(prefix_of(tokenizer), np.int32)
    own = length - len(prefix)

    def header(rows: int) -> dict[str, Any]:
        return {"descr": "<i4", "fortran_order": False, "shape": (rows, length)}

    rows, left = 0, np.empty(0, np.int32)
    with written_aside(path) as aside, aside.open("wb") as file:
        npy.write_array_header_1_0(file, header(0))
        begins = file.tell()
        while rows < most and (group := list(islice(documents, _DOCUMENTS))):
            encoded = tokenizer(group, add_special_tokens=False, verbose=False)["input_ids"]
            left = np.concatenate([left, *(np.array(ids + end, np.int32) for ids in encoded)])
            count = min(len(left) // own, most - rows)
            text = left[: count * own].reshape(count, own)
            np.hstack((np.tile(prefix, (count, 1)), text)).astype("<i4").tofile(file)
            rows, left = rows + count, left[count * own :]
            progress(min(rows, most - 1), most)
        if rows < 1:
            raise InputError(f"the text is shorter than one row of {length} tokens; give a longer text.")
        file.seek(0)
        npy.write_array_header_1_0(file, header(rows))  # has room for any number of rows
        assert file.tell() == begins
    progress(most, most)
    return rows
