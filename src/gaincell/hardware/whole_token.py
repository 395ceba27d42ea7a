"""Attention in gain cells as part of a whole token, whose period decides on retention."""

from typing import TYPE_CHECKING

from gaincell.config import GainCellConfig
from gaincell.hardware.datasheets import H100_SXM, Accelerator
from gaincell.hardware.decoder import DecoderShape
from gaincell.hardware.estimation import Estimate, estimate
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.roofline import WholeToken, whole_token

if TYPE_CHECKING:
    from gaincell.hardware.activity import Activity


def estimate_whole(
    decoder: DecoderShape,
    config: GainCellConfig,
    parameters: HardwareParameters | None = None,
    activity: "Activity | None" = None,
    accelerator: Accelerator = H100_SXM,
    batch: int = 1,
) -> tuple[Estimate, WholeToken]:
    """Estimate attention at the period of the whole token of every sequence of a batch, and that token.

    The rest of the model sets the period, the period how old a token gets, and its age what refreshing takes. Every
    sequence has arrays of its own.

    Raises:
        InputError: as `estimate`; a window that outlives the cell at that period, unless it is refreshed.
    """
    p = parameters or HardwareParameters()
    free = p.model_copy(update={"refresh": "rewrite"})  # the limit holds at the period, which this finds
    alone = estimate(decoder.attention, config.replace(token_period_s=None), free, activity)
    period_s = whole_token(decoder, alone.latency_s, alone.energy_j, config.window, accelerator, batch=batch).latency_s
    point = config.replace(token_period_s=max(period_s, config.token_period_s or 0.0))
    found = estimate(decoder.attention, point, p, activity)
    return found, whole_token(decoder, found.latency_s, found.energy_j, config.window, accelerator, batch=batch)
