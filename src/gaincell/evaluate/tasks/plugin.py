"""Models that lm-evaluation-harness loads by itself: `lm_eval --model gaincell --model_args pretrained=extended`."""

from gaincell.errors import InputError
from gaincell.evaluate.tasks.scorer import Answers, Scorer
from gaincell.models.device import check_device
from gaincell.models.load import load_model


class GainCellModel(Scorer):
    """What gaincell can load, scored as `gaincell evaluate --tasks` scores it.

    The harness finds it by the entry-point group `lm_eval.models`, in its releases after 0.4.13.

    Args:
        pretrained: as `gaincell.models.load.load_model` takes it: a folder, an adapter, or "demo".
        device: where the model runs, as torch calls it; None for the CPU.
        batch_size: requests a forward pass.
        max_batch_size: of the harness's search for one, which is not served; None.

    Raises:
        InputError: as `load_model`; a device that is not here; a batch size that is to be searched for.
    """

    def __init__(
        self,
        pretrained: str = "demo",
        *,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        size = str(batch_size or 1)
        if not size.isdecimal() or max_batch_size is not None:
            raise InputError(f"batch_size '{size}' is not served, nor a search for one; give a number.")
        device = device or "cpu"
        check_device(device)
        model, tokenizer = load_model(pretrained)
        model.to(device)  # pyright: ignore[reportArgumentType]
        super().__init__(model, tokenizer, batch=int(size), answers=Answers(None, ""))
