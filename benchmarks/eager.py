"""The equations written down as they stand: T x T tensors, every sub-tile's read-out at once, PyTorch's autograd.

What one writes first, and what it costs; the package's operator gives the same numbers.
"""

import torch
from torch import Tensor

from gaincell import GainCellConfig
from gaincell.ops.attention import normalise
from gaincell.ops.convert import query_pulse, readout, stored_voltage


def eager_attention(q: Tensor, k: Tensor, v: Tensor, config: GainCellConfig) -> Tensor:
    """`gaincell.attention` for as many key as query heads: q, k, v and the result (B, H, T, D)."""
    tokens = q.shape[2]
    index = torch.arange(tokens, device=q.device)
    age = index[:, None] - index
    seen = ((age >= 0) & (age < config.window)).to(q)
    decay = torch.exp(-config.leak * age.clamp(min=0).double()).to(q)
    pulse, yk, yv = query_pulse(q, config), stored_voltage(k, config), stored_voltage(v, config)

    # S_ts = sum_d q_td f(y_sd decay_ts), power by power of the law
    score = _surrogate(lambda i: (pulse @ (yk**i).mT) * decay**i, config)
    phi = (score / config.score_saturation).clamp(0.0, 1.0) * seen

    # Column s mod window: tokens a window apart share a column, and `seen` leaves one of them.
    columns, laps = config.subtile_columns, -(-tokens // config.window)
    shape = (laps, config.tiles, columns)

    def tiled(x: Tensor, dim: int) -> Tensor:  # (..., T, ...) -> (..., laps, tiles, columns, ...)
        more = list(x.shape)
        more[dim] = laps * config.window - tokens
        return torch.cat((x, x.new_zeros(more)), dim).unflatten(dim, shape)

    # charge_tjd = sum over the sub-tile's s of phi_ts f(y_sd decay_ts): (B, H, T, tiles, D)
    charge = _surrogate(
        lambda i: torch.einsum("bhtljc,bhljcd->bhtjd", tiled(phi * decay**i, 3), tiled(yv**i, 2)), config
    )
    return normalise(readout(charge / config.output_scale, config).sum(3), phi.sum(3), config)


def _surrogate(product, config: GainCellConfig) -> Tensor:
    """sum_i C_i product(i); under the published surrogate the gradient is that of slope * product(1)."""
    exact = sum(c * product(i) for i, c in enumerate(config.cell.model_law.coefficients))
    if config.gradient == "true-law" or not torch.is_grad_enabled():
        return exact
    linear = config.surrogate_slope * product(1)
    return linear + (exact - linear).detach()
