"""The ring of columns: keys and values written once as codes, read in place, token by token."""

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.ops.attention import normalise
from gaincell.ops.blocked import blocked_products
from gaincell.ops.check import check_leak
from gaincell.ops.convert import code_voltage, query_pulse, readout, stored_code
from gaincell.ops.precision import outside_autocast, widen


class Ring:
    """Key and value arrays of one layer: (B, Hkv, window, D) codes, and how many tokens each row has written.

    Token n of a row goes into column n mod window and overwrites what was there. The age of every column follows from
    the row's count, so it stays exact for any number of tokens. One byte a cell; two codes a byte when `packed`.

    Args:
        batch, kv_heads, head_dim: B, Hkv, D.
        config: the design point.
        device: where the codes live.
        packed: store two codes a byte (at most 16 levels, even head_dim).
    """

    def __init__(
        self,
        batch: int,
        kv_heads: int,
        head_dim: int,
        config: GainCellConfig,
        device: torch.device | str = "cpu",
        *,
        packed: bool = False,
    ) -> None:
        check_leak(config)
        if packed and (config.stored_levels is None or config.stored_levels > 16 or head_dim % 2):
            raise InputError(
                f"two codes a byte need at most 16 stored levels and an even head_dim; got {config.stored_levels} "
                f"levels and head_dim {head_dim}."
            )
        self.config, self.packed = config, packed
        width = head_dim // 2 if packed else head_dim
        dtype = torch.float32 if config.stored_levels is None else torch.uint8
        self.codes = torch.zeros(2, batch, kv_heads, config.window, width, dtype=dtype, device=device)
        self.count = torch.zeros(batch, dtype=torch.long, device=device)

    @property
    def nbytes(self) -> int:
        """Bytes that the stored codes take."""
        return self.codes.nbytes

    def write(self, k: Tensor, v: Tensor, real: Tensor | None = None) -> None:
        """Write tokens k, v (B, Hkv, n, D) in volt; `real` (B, n) is false at pads, which are not written."""
        batch, _, n, _ = k.shape
        if real is None:
            real = torch.ones(batch, n, dtype=torch.bool, device=k.device)
        index = self.count[:, None] + real.cumsum(1) - 1
        self.count = self.count + real.sum(1)
        keep = real & (index >= self.count[:, None] - self.config.window)
        rows, tokens = keep.nonzero(as_tuple=True)
        codes = stored_code(torch.stack((k, v)), self.config)[:, rows, :, tokens]
        # Advanced indices on both sides of a slice put the token first: (tokens, 2, Hkv, D) on either side.
        self.codes = self.codes.to(codes.dtype)  # unquantised voltages keep their operands' precision
        self.codes[:, rows, :, index[rows, tokens] % self.config.window] = self._pack(codes)

    @outside_autocast
    def read(self, q: Tensor, preset: Tensor | None = None) -> Tensor:
        """The output (B, Hq, 1, D) of one query q (B, Hq, 1, D) against what is stored; preset (B, Hq, 1) or None.

        A row that has not written yet gives zero.
        """
        config, (batch, heads, _, head_dim) = self.config, q.shape
        columns, kv_heads = config.subtile_columns, self.codes.shape[2]
        used = min(config.window, -(-max(int(self.count.max()), 1) // columns) * columns)
        column = torch.arange(used, device=q.device)
        age = (self.count[:, None] - 1 - column) % config.window
        dtype = widen(q).dtype
        y = code_voltage(self._unpack(self.codes[:, :, :, :used]), config, dtype)
        if config.leak:
            y = y * torch.exp(-config.leak * age.double()).to(dtype)[None, :, None, :, None]
        charge_k, charge_v = config.cell.model_law(y)
        pulse = query_pulse(q, config).view(batch, kv_heads, heads // kv_heads, head_dim)
        gate = pulse @ charge_k.mT / config.score_saturation
        if preset is not None:
            gate = gate + preset.to(dtype).view(batch, kv_heads, -1, 1)
        phi = gate.clamp(0.0, 1.0) * (column < self.count[:, None])[:, None, None]
        tiles = phi.unflatten(-1, (-1, columns)).transpose(2, 3) @ charge_v.unflatten(2, (-1, columns))
        out = readout(tiles / config.output_scale, config).sum(2)
        out = normalise(out, phi.sum(-1), config)
        return out.reshape(batch, heads, 1, head_dim).to(q.dtype)

    def extend(
        self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None = None, preset: Tensor | None = None
    ) -> Tensor:
        """Write and read a chunk of any length: (B, Hq, n, D), what n times write and read would give.

        Args:
            q: (B, Hq, n, D) pulse widths; k, v: (B, Hkv, n, D) volt, after scaling.
            real: (B, n), false at left pads; their output is zero.
            preset: (B, Hq, n) offset on S / S_sat.
        """
        if not q.numel():
            return torch.zeros_like(q)
        if q.shape[2] == 1:
            self.write(k, v, real)
            out = self.read(q, preset)
            return out if real is None else out * real[:, None, :, None]
        config, (batch, _, n, _) = self.config, q.shape
        start = self.count
        # The stored tokens in order, from a sub-tile's first column on, then the new ones: the parallel form of the
        # ring for a row whose tokens begin at a multiple of subtile_columns.
        base = (start - config.window).clamp(min=0) // config.subtile_columns * config.subtile_columns
        rank = torch.arange(n, device=q.device).expand(batch, n) if real is None else real.cumsum(1) - 1
        place = start[:, None] - base[:, None] + rank.clamp(min=0)
        length = int((start - base).max()) + n
        old = base[:, None] + torch.arange(length, device=q.device)
        stored = self._unpack(self.codes).movedim(0, 2)  # (B, Hkv, 2, W, D)
        column = (old % config.window)[:, None, None, :, None].expand(*stored.shape[:3], -1, stored.shape[4])
        new = stored_code(torch.stack((k, v), 2), config)
        codes = stored.gather(3, column).to(new.dtype)
        rows, tokens = (torch.ones_like(place, dtype=torch.bool) if real is None else real).nonzero(as_tuple=True)
        at = place[rows, tokens]
        codes[rows, :, :, at] = new[rows, :, :, tokens]
        yk, yv = code_voltage(codes, config, widen(q).dtype).unbind(2)
        queries = widen(q).new_zeros(batch, q.shape[1], length, q.shape[3])
        queries[rows, :, at] = query_pulse(q, config)[rows, :, tokens]
        offsets = None
        if preset is not None:
            offsets = queries.new_zeros(queries.shape[:3])
            offsets[rows, :, at] = preset[rows, :, tokens].to(queries.dtype)
        full = normalise(*blocked_products(queries, yk, yv, config, offsets), config)
        out = torch.zeros_like(q)
        out[rows, :, tokens] = full[rows, :, at].to(q.dtype)
        self.write(k, v, real)
        return out

    def reorder(self, rows: Tensor) -> None:
        """Take the given rows (B',) of the batch, as beam search does."""
        self.codes, self.count = self.codes.index_select(1, rows), self.count.index_select(0, rows)

    def reset(self) -> None:
        """Forget every token; the arrays stay."""
        self.count = torch.zeros_like(self.count)

    def to(self, device: torch.device | str) -> None:
        """Move the arrays."""
        self.codes, self.count = self.codes.to(device), self.count.to(device)

    def _pack(self, codes: Tensor) -> Tensor:
        return codes[..., ::2] | codes[..., 1::2] << 4 if self.packed else codes

    def _unpack(self, codes: Tensor) -> Tensor:
        return torch.stack((codes & 15, codes >> 4), -1).flatten(-2) if self.packed else codes
