"""How far each precision falls from float64 sums of the same converted operands."""

import torch

from benchmarks.contenders import design_points, operands
from benchmarks.timing import Row
from gaincell.ops.attention import normalise
from gaincell.ops.convert import full_scale, query_pulse, stored_voltage
from gaincell.ops.dispatch import stored_products


@torch.no_grad()
def flips(heads: int, tokens: int, head_dim: int, window: int, device: torch.device) -> list[Row]:
    """One row a design point and precision: outputs and sub-tile codes that differ, and the relative RMS distance.

    An output sums up to `tiles` codes. Flips of two sub-tiles that cancel in their sum are not counted.
    """
    q, k, v = operands(heads, tokens, head_dim, device)
    points, rows = design_points(window), []
    for leak in ("no leak", "leak"):
        config = points[leak]
        converted = query_pulse(q, config), stored_voltage(k, config), stored_voltage(v, config)
        exact = config.replace(path="blocked")
        reference = normalise(*stored_products(*(x.double() for x in converted), exact), config)
        full = full_scale(config)
        query = torch.arange(tokens)
        codes = heads * head_dim * int((query // config.subtile_columns + 1).clamp(max=config.tiles).sum())
        for name in ("float32", "tf32", "bfloat16"):
            out = normalise(*stored_products(*converted, config.replace(matmul=name)), config)
            difference = out.double() - reference
            steps = (difference * full).round()
            rows.append(
                {
                    "point": leak,
                    "name": name,
                    "outputs": steps.numel(),
                    "outputs_flipped": float((steps != 0).sum()) / steps.numel(),
                    "codes_flipped": float(steps.abs().sum()) / codes,
                    "rms": float(difference.norm() / reference.norm()),
                }
            )
    return rows
