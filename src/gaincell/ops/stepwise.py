"""Both products token by token, as the ring of columns reads them: for cells whose charge no term tells by age."""

import torch
from torch import Tensor

from gaincell.ops.decoded import Decoded
from gaincell.ops.model import ArrayModel
from gaincell.ops.operands import Operands
from gaincell.ops.precision import widen, without_autocast
from gaincell.ops.quantise import query_pulse, stored_code

#: What it computes; see `gaincell.ops.model.ArrayModel.needs`.
SERVES = frozenset(
    {
        *("normaliser", "feedthrough", "noise", "mismatch", "leak spread", "refresh", "retention table"),
        *("write error", "read disturb", "tabled write"),
    }
)


@torch.no_grad()
def stepwise_products(operands: Operands, model: ArrayModel) -> tuple[Tensor, Tensor | None]:
    """Both products of rows without pads that have written nothing before, in memory linear in the tokens.

    Every token reads every cell of its window anew, at its own age: as many evaluations of the law as there are pairs
    of tokens, times head_dim, where the blocked form has as many multiplications.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, and (B, Hq, T) Z where the design point has a normaliser.
    """
    assert operands.start is None
    assert not operands.converted
    with without_autocast(operands.q.device.type):
        return _products(operands, model)


def _products(operands: Operands, model: ArrayModel) -> tuple[Tensor, Tensor | None]:
    config, pulse = model.config, query_pulse(widen(operands.q), model.config)
    (batch, kv_heads, tokens, dim), window, columns = operands.k.shape, config.window, config.subtile_columns
    if model.write_error is None:
        new = stored_code(torch.stack((operands.k, operands.v)), config)
    else:
        written = operands.convert(config)
        new = torch.stack((written.k, written.v))
    codes = new.new_zeros(2, batch, kv_heads, min(window, -(-tokens // columns) * columns), dim)
    absent = None if operands.absent is None else operands.absent.new_zeros(batch, kv_heads, window)
    out, z = torch.zeros_like(pulse), None if model.normaliser is None else pulse.new_zeros(pulse.shape[:3])
    for t in range(tokens):
        codes[:, :, :, t % window] = new[:, :, :, t]
        if absent is not None and operands.absent is not None:
            absent[:, :, t % window] = operands.absent[:, :, t]
        used = min(window, -(-(t + 1) // columns) * columns)
        now = Decoded(codes[:, :, :, :used], model, pulse.dtype, [t + 1] * batch, absent)
        preset = None if operands.preset is None else operands.preset[:, :, t : t + 1]
        read, total = now.read(pulse[:, :, t : t + 1], [t + 1] * batch, preset)
        out[:, :, t : t + 1] = read
        if z is not None and total is not None:
            z[:, :, t : t + 1] = total
    return out, z
