"""The operator alone: one head's arrays, in parallel and token by token, with the published and the extended design."""

import torch

import gaincell
from gaincell.ops import Ring

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)  # in float32 a read-out code in a million falls on its other side
batch, heads, kv_heads, tokens, head_dim = 1, 4, 2, 200, 64

for name in gaincell.GainCellConfig.names():
    config = gaincell.GainCellConfig.named(name).replace(window=128)
    q = torch.rand(batch, heads, tokens, head_dim)  # pulse widths in units of T_max
    k = 0.45 + 0.2 * torch.randn(batch, kv_heads, tokens, head_dim)  # volt; 0.45 V stands for zero
    v = 0.45 + 0.2 * torch.randn(batch, kv_heads, tokens, head_dim)

    parallel = gaincell.attention(q, k, v, config)

    ring = Ring(batch, kv_heads, head_dim, config)  # 128 columns of 3-bit codes: token 129 overwrites token 1
    outputs = []
    for t in range(tokens):
        now = slice(t, t + 1)
        ring.write(k[:, :, now], v[:, :, now])
        outputs.append(ring.read(q[:, :, now]))
    difference = (torch.cat(outputs, 2) - parallel).abs().max()
    print(f"{name:18} output {tuple(parallel.shape)}, ring against parallel form: {difference:.1e}")
    assert difference < 1e-9
