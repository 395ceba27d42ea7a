"""What entries share: the user's files, and what is costly to find and needed by more than one."""

import hashlib
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gaincell.circuit.ngspice import Ngspice
from gaincell.progress import Progress, of_stage
from gaincell.reproduce.authors_data import Reference

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from gaincell.circuit.cards import Card
    from gaincell.circuit.characterize import Characterisation
    from gaincell.hardware.measure_gpu import Measurement

#: Perplexities are taken as those in docs/adaptation.md: at the length of the window, on the packaged speeches.
LENGTH, TOKENS = 1024, 4096
#: Rows of `LENGTH` tokens that matching looks at.
MATCHED_ON = 2


class Context:
    """What an entry may use.

    Args:
        folder: where entries that take long keep what they have so far.
        items: of every task.
        reference: the authors' data, where the user has it.
        gpu: a measurement of `gaincell measure-gpu`.
        progress: called with (stage, done, total).
    """

    def __init__(
        self,
        folder: Path,
        *,
        items: int = 60,
        reference: Reference | None = None,
        gpu: "Measurement | None" = None,
        progress: Progress | None = None,
    ) -> None:
        self.folder, self.items, self.reference, self.gpu, self.progress = folder, items, reference, gpu, progress
        self._perplexities: dict[str, float] = {}

    def identity(self, use: str) -> str | None:
        """Which `items`, `reference`, `gpu`, `circuit` or `adapters` it is, in short; None where there is none."""
        if use == "adapters":  # those that ship with this version
            from gaincell.models.adapter import adapter_checksum, adapter_names

            return hashlib.sha256("".join(map(adapter_checksum, adapter_names())).encode()).hexdigest()[:8]
        if use == "circuit":  # what it would be of: to find it takes minutes
            return self._card.name if shutil.which(Ngspice().program) else None
        given = getattr(self, use)
        if given is None or isinstance(given, int):
            return None if given is None else str(given)
        content = given.content() if isinstance(given, Reference) else repr(given).encode()
        return hashlib.sha256(content).hexdigest()[:8]

    @cached_property
    def circuit(self) -> "Characterisation | None":
        """Our cell in ngspice: of SkyWater's transistors, of our own where those are not fetched; None without ngspice.

        Raises:
            CircuitError: a simulation failed.
        """
        from gaincell.circuit import NotInstalled
        from gaincell.circuit.characterize import characterize
        from gaincell.circuit.decks.cell import gain_cell

        cell = gain_cell(self._card, "transmission", None, 8e-15)
        try:
            return characterize(cell, self._card, progress=of_stage(self.progress, "circuit"))
        except NotInstalled:
            return None

    @cached_property
    def _card(self) -> "Card":
        from gaincell.circuit.cards import generic_card
        from gaincell.circuit.cards.sky130 import sky130_card, sky130_folder

        return sky130_card() if (sky130_folder() / "lvt_tt.spice").is_file() else generic_card()

    def perplexity(self, model: str, mapped: Literal["as it is", "matched"] | None = None) -> float:
        """Perplexity of the demo model or of an adapter, on `TOKENS` of the speeches in windows of `LENGTH`.

        Args:
            model: "demo", or a shipped adapter.
            mapped: how the demo model is brought to 'leroux2025': as it is, or with its scalers from the paper's
                matching on `MATCHED_ON` rows of the packaged prose, towards the hardware's ranges and softmax's output.
        """
        name = model if mapped is None else f"{model}, {mapped}"
        if name not in self._perplexities:
            from gaincell.evaluate import perplexity
            from gaincell.models import convert_
            from gaincell.models.load import load_model

            network, tokenizer = load_model(model)
            if mapped == "as it is":
                convert_(network, "leroux2025")
            if mapped == "matched":
                self._match(network, tokenizer)
            report = of_stage(self.progress, f"perplexity of {name}")
            found = perplexity(network, tokenizer, length=LENGTH, tokens=TOKENS, progress=report)
            self._perplexities[name] = found.perplexity
        return self._perplexities[name]

    def _match(self, network: "PreTrainedModel", tokenizer: Any) -> None:
        from gaincell.adapt import AdaptSettings, adapt
        from gaincell.adapt.text.cut import read_rows
        from gaincell.evaluate import default_training_text

        ids = read_rows(tokenizer, default_training_text(), MATCHED_ON, LENGTH)
        adapt(
            network,
            "leroux2025",
            tokenizer=tokenizer,
            out=self.folder / "matching",
            calibration=ids,
            stages=("statistics",),
            statistics="matching",
            settings=AdaptSettings(rows=MATCHED_ON, statistics_rows=MATCHED_ON, length=LENGTH, held_back=0),
            progress=self.progress,
        )

    @cached_property
    def record(self) -> dict[str, Any]:
        """What took hours of learning, and so is kept with the package; `tools/record_reproduction.py` wrote it."""
        import json
        from importlib import resources

        return json.loads((resources.files("gaincell.reproduce") / "record.json").read_text("utf-8"))
