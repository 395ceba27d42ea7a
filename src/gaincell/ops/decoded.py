"""What a ring's codes stand for, kept ready for the next read: factors of both products, in the layout they need."""

import torch
from torch import Tensor

from gaincell.ops.leak import since_written
from gaincell.ops.model import ArrayModel
from gaincell.ops.precision import round_operand, rounding
from gaincell.ops.quantise import code_voltage, fired
from gaincell.ops.terms import Terms
from gaincell.ops.variation import Cells, Noise, arrays


class Decoded:
    """Terms of f for every stored cell: keys (sub-tiles, B Hkv, D, P, C) and values (sub-tiles, B Hkv, P, C, D).

    Cells that leak each at its own pace have one term, their charge as it is now: it is made anew for every read. Else
    a read costs two matrix products and no look-up, for 4 P bytes a cell beside the codes (P = 1 without leak,
    else one a power of the law). It is computed from the codes and can be dropped at any time. Each array is laid out
    so that a product of a few query rows runs along memory.

    Args:
        codes: (2, B, Hkv, K, D), unpacked: the first K columns, whole sub-tiles; the others are still empty. There is
            room for twice as many, up to the window. Where writes are not ideal, voltages as they were written.
        model: the arrays.
        dtype: of the reads.
        written: tokens that each row has written.
        absent: (B, Hkv, window), true at columns that are to add nothing, or None.
        terms: of keys and values; those of the arrays' cells if None.
    """

    def __init__(
        self,
        codes: Tensor,
        model: ArrayModel,
        dtype: torch.dtype,
        written: list[int],
        absent: Tensor | None,
        terms: tuple[Terms, ...] | None = None,
    ) -> None:
        config, device = model.config, codes.device
        self.model, self.config, self.dtype, self.rounding = model, config, dtype, rounding(config, dtype)
        self.gate, self.terms = model.gate, terms or (model.key, model.value)
        through = None if terms else model.feedthrough
        #: The same of the feedthrough, whose charge comes with every pulse whatever its width.
        self.through = Decoded(codes, model, dtype, written, absent, through) if through else None
        self.key_constant = torch.full((codes.shape[-1], 1), self.terms[0].constant, dtype=dtype, device=device)
        self.written = written
        self.arrays = None
        if not terms or model.aged:
            cells = arrays(config, codes.shape[2], codes.shape[4], self.key_constant)
            self.arrays = cells and tuple(array.alike for array in cells) if terms else cells
        self.table = self.decay = None
        if config.stored_levels is not None and self.arrays is None and model.write_error is None:
            # One table for both arrays, (2 levels, P): the codes of values come after those of keys.
            y = code_voltage(torch.arange(config.stored_levels, device=device), config, dtype)
            self.table = torch.cat([torch.stack(terms.values(y), -1) for terms in self.terms])
            self.array = torch.tensor([0, config.stored_levels], dtype=torch.int32, device=device).view(2, 1, 1, 1, 1)
        if (config.leak or config.tabled) and not model.aged:
            # By column: 0 ... 2 window - 1 tokens from now, so that any newest column's ages are a slice.
            age = -torch.arange(2 * config.window, dtype=torch.float64, device=device) % config.window
            self.decay = self.terms[0].decays(since_written(age, config)).to(dtype)  # (P, 2 window)
        factors = self._factors(codes).unflatten(3, (-1, config.subtile_columns))  # (2, B, Hkv, sub-tiles, C, D, P)
        key, value = factors.flatten(1, 2).movedim(2, 1)  # (sub-tiles, B Hkv, C, D, P)
        self.key, self.value = self._roomy(key.permute(0, 1, 3, 4, 2)), self._roomy(value.permute(0, 1, 4, 2, 3))
        filled = torch.arange(config.window, device=device) < torch.tensor(written, device=device)[:, None, None]
        filled = filled.expand(-1, codes.shape[2], -1) if absent is None else filled & ~absent
        #: (sub-tiles, B Hkv, 1, C): 1 at columns that hold something, else 0.
        self.present = filled.flatten(0, 1).unflatten(1, (-1, 1, config.subtile_columns)).movedim(1, 0).to(dtype)

    def _roomy(self, used: Tensor) -> Tensor:
        """Factors of the sub-tiles that are used, and room for as many more."""
        factors = used.new_zeros(min(self.config.tiles, 2 * len(used)), *used.shape[1:])
        factors[: len(used)] = used
        return factors

    def _factors(self, codes: Tensor, column: Tensor | int | None = None) -> Tensor:
        """codes (2, B, Hkv, n, D) of the first n columns, or of one, (B,) or one for all -> (2, B, Hkv, n, D, P)."""
        if self.table is not None:
            return self.table.index_select(0, (codes + self.array).flatten()).view(*codes.shape, -1)
        ideal = self.model.write_error is None
        y = code_voltage(codes, self.config, self.dtype) if ideal else codes.to(self.dtype)
        cells: tuple[Cells | None, ...] = (None, None)
        if self.arrays is not None:
            if column is None:
                cells = tuple(array.first(codes.shape[3]) for array in self.arrays)
            else:
                head = torch.arange(codes.shape[2], device=codes.device)[:, None]
                at = torch.as_tensor(column, device=codes.device).view(-1, 1, 1)
                cells = tuple(array.at(head, at) for array in self.arrays)
            if self.model.aged:  # as old as they are, (B, 1, n, 1)
                newest = torch.tensor(self.written, device=codes.device).view(-1, 1, 1, 1) - 1
                age = (newest - torch.arange(codes.shape[3], device=codes.device).view(-1, 1)) % self.config.window
                cells = tuple(array and array.aged(since_written(age, self.config)) for array in cells)
        return torch.stack(
            [torch.stack(terms.values(x, own), -1) for terms, x, own in zip(self.terms, y, cells, strict=True)]
        )

    @property
    def columns(self) -> int:
        """How many columns there is room for; past them it has to be made anew."""
        return len(self.key) * self.config.subtile_columns

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.key.nbytes + self.value.nbytes + (self.through.nbytes if self.through else 0)

    def write(self, codes: Tensor, absent: Tensor | None, column: Tensor | int) -> None:
        """Follow the ring: codes (2, B, Hkv, 1, D) and absent (B, Hkv, 1) of one token went into `column`.

        That is one for all rows, or (B,).
        """
        if self.through is not None:
            self.through.write(codes, absent, column)
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

    def _decays(self, written: list[int], tiles: int) -> Tensor | None:
        """Decay of every column and term, (tiles, B Hkv or 1, 1, P, C), when each row has written so many tokens."""
        if self.decay is None:
            return None
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
        config, model, (batch, heads, _, dim), rows = self.config, self.model, pulse.shape, self.key.shape[1]
        tiles = min(config.tiles, -(-max([*written, 1]) // config.subtile_columns))
        noise = None if model.noise is None else _Noise(model, model.noise.of_call(), written, tiles, pulse, rows)
        q, decay, through_decay = pulse.reshape(rows, -1, dim), self._decays(written, tiles), None
        score = self._scores(q, tiles, decay)
        if self.through is not None:
            through_decay = self.through._decays(written, tiles)
            score.add_(self.through._scores(fired(q, config), tiles, through_decay))
        preset = self.gate.start(preset, pulse)
        if preset is not None:
            score.add_(preset.to(self.dtype).reshape(rows, -1, 1))
        if noise is not None and noise.noise.score:
            score.add_(noise.of_scores())
        phi = self.gate.width(score, out=score).mul_(self.present.narrow(0, 0, tiles))
        total = phi.sum(3, keepdim=True)
        charge = self._charges(phi, total, decay)
        if self.through is not None:
            pulses = (phi > 0.0).to(phi)
            charge.add_(self.through._charges(pulses, pulses.sum(3, keepdim=True), through_decay))
        if noise is not None and noise.noise.readout:
            charge.add_(noise.of_readouts())
        out = model.readout.count_(charge).sum(0).mul_(1.0 / model.readout.full).view(batch, heads, 1, dim)
        if model.normaliser is None:
            return out, None
        return out, model.normaliser(total).sum(0).view(batch, heads, 1)

    def _scores(self, q: Tensor, tiles: int, decay: Tensor | None) -> Tensor:
        """S / S_sat of pulses q (B Hkv, G, D) on every column: (tiles, B Hkv, G, C)."""
        mode, (rows, _, dim) = self.rounding, q.shape
        key = self.key.narrow(0, 0, tiles).view(tiles * rows, dim, -1)
        every_tile = q.expand(tiles, *q.shape).reshape(tiles * rows, -1, dim)
        if mode:
            every_tile, key = round_operand(every_tile, mode), round_operand(key, mode)
        score = torch.bmm(every_tile, key).view(tiles, rows, -1, len(self.terms[0].rates), self.config.subtile_columns)
        score = score.squeeze(3) if decay is None else score.mul_(decay).sum(3)
        return score.add_(torch.matmul(q, self.key_constant)) if self.terms[0].constant else score

    def _charges(self, phi: Tensor, total: Tensor, decay: Tensor | None) -> Tensor:
        """Charges in counts (tiles, B Hkv, G, D) of pulses phi (tiles, B Hkv, G, C), whose sum is `total`."""
        mode, (tiles, rows, groups, _), dim = self.rounding, phi.shape, self.value.shape[-1]
        value = self.value.narrow(0, 0, tiles).view(tiles * rows, -1, dim)
        pulses = phi if decay is None else phi.unsqueeze(3) * decay
        pulses = pulses.reshape(tiles * rows, groups, -1)
        if mode:
            pulses, value = round_operand(pulses, mode), round_operand(value, mode)
        charge = torch.bmm(pulses, value).view(tiles, rows, groups, dim)
        return charge.add_(total, alpha=self.terms[1].constant) if self.terms[1].constant else charge


class _Noise:
    """Noise of one query a row, when each row has written so many tokens."""

    def __init__(
        self, model: ArrayModel, noise: Noise, written: list[int], tiles: int, pulse: Tensor, rows: int
    ) -> None:
        device, (batch, heads) = pulse.device, pulse.shape[:2]
        self.model, self.noise, self.like = model, noise, pulse[:1, :1]
        # (tiles, B, Hkv, G, 1 or C)
        self.head = torch.arange(heads, device=device).view(1, 1, rows // batch, -1, 1)
        self.token = torch.tensor(written, device=device).view(1, -1, 1, 1, 1) - 1
        self.tile = torch.arange(tiles, device=device).view(-1, 1, 1, 1, 1)

    def of_scores(self) -> Tensor:
        """Of S / S_sat of every column, through the circuit's gain: (tiles, B Hkv, G, C)."""
        columns = self.model.config.subtile_columns
        column = self.tile * columns + torch.arange(columns, device=self.tile.device)
        noise = self.noise.of_scores(self.head, self.token, column, self.like)
        return noise.mul_(self.model.gate.gain).flatten(1, 2)

    def of_readouts(self) -> Tensor:
        """Of every charge, in counts: (tiles, B Hkv, G, D)."""
        head, token, tile = (x[..., 0] for x in (self.head, self.token, self.tile))
        noise = self.noise.of_readouts(head, token, tile, self.like)
        noise.mul_(self.tile * self.model.config.subtile_columns <= self.token)  # one that is empty is not read
        return noise.mul_(self.model.readout.scale).flatten(1, 2)
