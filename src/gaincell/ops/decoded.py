"""What a ring's codes stand for, kept ready for the next read: factors of both products, in the layout they need."""

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.convert import code_voltage, full_scale, normaliser_readout, readout_
from gaincell.ops.precision import round_operand, rounding
from gaincell.ops.terms import Terms
from gaincell.ops.variation import Cells, arrays


class Decoded:
    """Terms of f for every stored cell: keys (sub-tiles, B Hkv, D, P, C) and values (sub-tiles, B Hkv, P, C, D).

    A read then costs two matrix products and no look-up, for 4 P bytes a cell beside the codes (P = 1 without leak,
    else one a power of the law). It is computed from the codes and can be dropped at any time. Each array is laid out
    so that a product of a few query rows runs along memory.

    Args:
        codes: (2, B, Hkv, K, D), unpacked: the first K columns, whole sub-tiles; the others are still empty.
        config: the design point.
        dtype: of the reads.
        written: tokens that each row has written.
        absent: (B, Hkv, window), true at columns that are to add nothing, or None.
    """

    def __init__(
        self, codes: Tensor, config: GainCellConfig, dtype: torch.dtype, written: list[int], absent: Tensor | None
    ) -> None:
        self.config, self.dtype, law, device = config, dtype, config.cell.model_law, codes.device
        self.full, self.rounding = full_scale(config), rounding(config, dtype)
        scales = 1.0 / config.score_saturation, self.full / config.output_scale
        self.terms = tuple(Terms.of(law, config, scale) for scale in scales)
        self.key_constant = torch.full((codes.shape[-1], 1), self.terms[0].constant, dtype=dtype, device=device)
        self.arrays = arrays(config, codes.shape[2], codes.shape[4], self.key_constant)
        self.table = self.decay = None
        if config.stored_levels is not None and self.arrays is None:
            # One table for both arrays, (2 levels, P): the codes of values come after those of keys.
            y = code_voltage(torch.arange(config.stored_levels, device=device), config, dtype)
            self.table = torch.cat([torch.stack(terms.values(y), -1) for terms in self.terms])
            self.array = torch.tensor([0, config.stored_levels], dtype=torch.int32, device=device).view(2, 1, 1, 1, 1)
        if config.leak:
            # By column: 0 ... 2 window - 1 tokens from now, so that any newest column's ages are a slice.
            age = -torch.arange(2 * config.window, dtype=torch.float64, device=device) % config.window
            rates = torch.tensor(self.terms[0].rates, dtype=torch.float64, device=device)[:, None]
            self.decay = torch.exp(-config.leak * rates * age).to(dtype)  # (P, 2 window)
        factors = self._factors(codes).unflatten(3, (-1, config.subtile_columns))  # (2, B, Hkv, sub-tiles, C, D, P)
        key, value = factors.flatten(1, 2).movedim(2, 1)  # (sub-tiles, B Hkv, C, D, P)
        self.key, self.value = self._whole(key.permute(0, 1, 3, 4, 2)), self._whole(value.permute(0, 1, 4, 2, 3))
        filled = torch.arange(config.window, device=device) < torch.tensor(written, device=device)[:, None, None]
        filled = filled.expand(-1, codes.shape[2], -1) if absent is None else filled & ~absent
        #: (sub-tiles, B Hkv, 1, C): 1 at columns that hold something, else 0.
        self.present = filled.flatten(0, 1).unflatten(1, (-1, 1, config.subtile_columns)).movedim(1, 0).to(dtype)

    def _whole(self, used: Tensor) -> Tensor:
        """Factors of every sub-tile, from those of the first ones."""
        factors = used.new_zeros(self.config.tiles, *used.shape[1:])
        factors[: len(used)] = used
        return factors

    def _factors(self, codes: Tensor, column: Tensor | int | None = None) -> Tensor:
        """codes (2, B, Hkv, n, D) of the first n columns, or of one, (B,) or one for all -> (2, B, Hkv, n, D, P)."""
        if self.table is not None:
            return self.table.index_select(0, (codes + self.array).flatten()).view(*codes.shape, -1)
        y = code_voltage(codes, self.config, self.dtype)
        cells: tuple[Cells | None, ...] = (None, None)
        if self.arrays is not None:
            head = torch.arange(codes.shape[2], device=codes.device)[:, None]
            if column is None:
                at = torch.arange(codes.shape[3], device=codes.device)
            else:
                at = torch.as_tensor(column, device=codes.device).view(-1, 1, 1)
            cells = tuple(array.at(head, at) for array in self.arrays)
        return torch.stack(
            [torch.stack(terms.values(*of), -1) for terms, *of in zip(self.terms, y, cells, strict=True)]
        )

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.key.nbytes + self.value.nbytes

    def write(self, codes: Tensor, absent: Tensor | None, column: Tensor | int) -> None:
        """Follow the ring: codes (2, B, Hkv, 1, D) and absent (B, Hkv, 1) of one token went into `column`.

        That is one for all rows, or (B,).
        """
        key, value = self._factors(codes, column).view(2, -1, codes.shape[4], len(self.terms[0].rates))
        tile, row, column = self._place(column)
        self.key[tile, row, ..., column] = key
        self.value[tile, row, :, column] = value.mT
        self.present[tile, row, 0, column] = 1.0 if absent is None else absent.logical_not().flatten().to(self.dtype)

    def _place(self, column: Tensor | int) -> tuple[Tensor | int, Tensor | slice, Tensor | int]:
        """Sub-tile, row and column of B Hkv rows."""
        columns = self.config.subtile_columns
        if isinstance(column, int):
            return column // columns, slice(None), column % columns
        rows = self.key.shape[1]
        column = column.repeat_interleave(rows // len(column))
        return column // columns, torch.arange(rows, device=column.device), column % columns

    def _decays(self, written: list[int], tiles: int) -> Tensor:
        """Decay of every column and term, (tiles, B Hkv or 1, 1, P, C), when each row has written so many tokens."""
        assert self.decay is not None
        window, columns = self.config.window, self.config.subtile_columns
        shape, strides = (tiles, 1, 1, len(self.decay), columns), (columns, 0, 0, 2 * window, 1)
        same = written[:1] if len(set(written)) == 1 else written
        rows = [self.decay.as_strided(shape, strides, window - (n - 1) % window) for n in same]
        return rows[0] if len(rows) == 1 else torch.cat(rows, 1).repeat_interleave(self.key.shape[1] // len(rows), 1)

    def read(self, pulse: Tensor, written: list[int], preset: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Both products of one query a row.

        Args:
            pulse: (B, Hq, 1, D) converted pulse widths.
            written: tokens that each row has written.
            preset: (B, Hq, 1) offset on S / S_sat, or None.

        Returns:
            (B, Hq, 1, D) sum of the sub-tiles' read-outs, and (B, Hq, 1) Z where the design point has a normaliser.
        """
        config, mode, columns = self.config, self.rounding, self.config.subtile_columns
        (batch, heads, _, dim), rows = pulse.shape, self.key.shape[1]
        tiles = min(config.tiles, -(-max([*written, 1]) // columns))
        key = self.key.narrow(0, 0, tiles).view(tiles * rows, dim, -1)
        value = self.value.narrow(0, 0, tiles).view(tiles * rows, -1, dim)
        q = pulse.reshape(rows, -1, dim)
        every_tile = q.expand(tiles, *q.shape).reshape(tiles * rows, -1, dim)
        if mode:
            every_tile, key, value = (round_operand(x, mode) for x in (every_tile, key, value))
        gate = torch.bmm(every_tile, key).view(tiles, rows, -1, len(self.terms[0].rates), columns)
        decay = None if self.decay is None else self._decays(written, tiles)
        gate = gate.squeeze(3) if decay is None else gate.mul_(decay).sum(3)
        if self.terms[0].constant:
            gate.add_(torch.matmul(q, self.key_constant))
        if preset is not None:
            gate.add_(preset.to(self.dtype).reshape(rows, -1, 1))
        phi = gate.clamp_(0.0, 1.0).mul_(self.present.narrow(0, 0, tiles))
        pulses = phi if decay is None else phi.unsqueeze(3) * decay
        pulses = pulses.reshape(tiles * rows, heads * batch // rows, -1)
        charge = torch.bmm(round_operand(pulses, mode) if mode else pulses, value).view(tiles, rows, -1, dim)
        fired = phi.sum(3, keepdim=True)
        if self.terms[1].constant:
            charge.add_(fired, alpha=self.terms[1].constant)
        out = readout_(charge, config).sum(0).mul_(1.0 / self.full).view(batch, heads, 1, dim)
        if config.normaliser == "none":
            return out, None
        return out, normaliser_readout(fired, config).sum(0).view(batch, heads, 1)
