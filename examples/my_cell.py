"""A cell of one's own: write a cell file, put it into a design point, and see what it does to the operator."""

import tempfile
from pathlib import Path

import torch

import gaincell
from gaincell.ops import attention

MY_CELL = """
name: my-cell
description: A weaker, more linear cell with a slow leak.
law:
  coefficients: [0.0, 2.0e-6, 0.0, 1.0e-6]   # coulomb per second of pulse, per volt^i
  unit: C/s
  source: simulated, 2026
retention:
  tau: 40
  unit: ms
  source: simulated, 2026
"""

published = gaincell.GainCellConfig.named("leroux2025")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "my_cell.yaml"
    path.write_text(MY_CELL)
    mine = published.replace(cell=path, leak_per_token=None, token_period_s=0.78e-6)

torch.manual_seed(0)
q = torch.rand(1, 2, 256, 64)
k, v = (0.45 + 0.2 * torch.randn(1, 2, 256, 64) for _ in range(2))
for config in (published, mine):
    law = config.cell.model_law
    charge = ", ".join(f"{law(y):+.2f}" for y in (-0.45, 0.0, 0.45))
    out = attention(q, k, v, config)
    print(f"{config.cell.name:12} f(-0.45, 0, +0.45 V) = {charge}; leak {config.leak:.1e}; output {out.std():.3f}")
print(f"one model unit of {mine.cell.name} is {mine.cell.coulomb_per_second:.2e} C/s")
