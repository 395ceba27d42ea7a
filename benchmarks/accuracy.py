"""How far each precision falls from float64 sums of the same converted operands."""

import torch

from benchmarks.contenders import design_points, operands
from benchmarks.timing import Row
from gaincell.ops.dispatch import attend
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands


@torch.no_grad()
def flips(heads: int, tokens: int, head_dim: int, window: int, device: torch.device) -> list[Row]:
    """One row a design point and precision: outputs and sub-tile codes that differ, and the relative RMS distance.

    An output sums up to `tiles` codes. Flips of two sub-tiles that cancel in their sum are not counted.
    """
    q, k, v = operands(heads, tokens, head_dim, device)
    points, rows = design_points(window), []
    for leak in ("no leak", "leak"):
        config = points[leak]
        converted = Operands(q, k, v).convert(config)
        wide = Operands(converted.q.double(), converted.k.double(), converted.v.double(), converted=True)
        reference = attend(wide, array_model(config.replace(path="blocked")))
        full = array_model(config).readout.full
        query = torch.arange(tokens)
        codes = heads * head_dim * int((query // config.subtile_columns + 1).clamp(max=config.tiles).sum())
        for name in ("float32", "tf32", "bfloat16"):
            out = attend(converted, array_model(config.replace(matmul=name)))
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
