"""The ring of columns: keys and values written once as codes, read in place, token by token."""

from contextlib import nullcontext

import torch
from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.ops.check import check_design, check_read, check_ring
from gaincell.ops.decoded import Decoded
from gaincell.ops.dispatch import attend, path_of
from gaincell.ops.model import array_model
from gaincell.ops.operands import Operands
from gaincell.ops.precision import outside_autocast, widen
from gaincell.ops.quantise import code_voltage, query_pulse, stored_code, stored_voltage
from gaincell.ops.take_back import Chunk, Overwritten
from gaincell.ops.written import overwrite

#: The parallel form works through all that is stored: a chunk of so many times fewer tokens is faster one by one.
_COLUMNS_A_READ = 32
#: Tokens that a ring that records can take back, whatever its window: drafts are not longer where windows are short.
_TAKEN_BACK = 1024


def check_packed(config: GainCellConfig, head_dim: int = 0) -> None:
    """Raise InputError where two codes do not fit into a byte, or codes are not all that cells hold."""
    if config.stored_levels is None or config.stored_levels > 16 or head_dim % 2:
        raise InputError(
            f"two codes a byte need at most 16 stored levels and an even head_dim; got {config.stored_levels} "
            f"levels" + (f" and head_dim {head_dim}." if head_dim else ".")
        )
    if config.writes == "cell":
        raise InputError(
            "two codes a byte hold no voltages as they were really written; use a ring that is not packed, or writes "
            "'ideal'."
        )


class Ring:
    """Key and value arrays of one layer: (B, Hkv, window, D) codes, and how many tokens each row has written.

    Token n of a row goes into column n mod window and overwrites what was there. The age of every column follows from
    the row's count, so it stays exact for any number of tokens. One byte a cell; two codes a byte when `packed`. A
    token may take its column without being stored there: such columns are kept in `absent`, and add nothing.

    On a CPU, reads keep what the codes stand for beside them (`Decoded`): one float a cell without leak, one a power of
    the law with it, for up to twice the columns in use; many times faster than decoding the ring for every token. A
    packed ring keeps nothing but its codes.

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
        check_design(config)
        if packed:
            check_packed(config, head_dim)
        if min(batch, kv_heads, head_dim) < 0:
            raise InputError(f"a ring needs sizes of zero or more; got {(batch, kv_heads, head_dim)} (B, Hkv, D).")
        self.config, self.model, self.packed = config, array_model(config), packed
        # While the decoded contents are kept, `_written` is `count` where no device needs to be asked.
        self._decoded: Decoded | None = None
        self._written: list[int] = []
        width = head_dim // 2 if packed else head_dim
        dtype = torch.float32 if config.stored_levels is None or config.writes == "cell" else torch.uint8
        with torch.inference_mode(False):  # what is made inside could not be written to outside
            self.codes = torch.zeros(2, batch, kv_heads, config.window, width, dtype=dtype, device=device)
        self.count = torch.zeros(batch, dtype=torch.long, device=device)
        #: (B, Hkv, window), true at columns whose token is not stored; None as long as there never was one.
        self.absent: Tensor | None = None
        #: Whether what tokens overwrite is kept from now on, so that `take_back` can put it back.
        self.recording = False
        self._overwritten = Overwritten(max(config.window, _TAKEN_BACK))

    @property
    def codes(self) -> Tensor:
        """What is stored: (2, B, Hkv, window, D), or (..., D / 2) when packed; keys first.

        Codes; where voltages are not quantised, what is stored in volt; and where writes are not ideal, what was really
        written, in volt above zero.
        """
        return self._codes

    @codes.setter
    def codes(self, codes: Tensor) -> None:
        self._codes, self._decoded = codes, None

    @property
    def count(self) -> Tensor:
        """(B,) tokens that each row has written."""
        return self._count

    @count.setter
    def count(self, count: Tensor) -> None:
        self._count, self._decoded = count, None

    @property
    def decoded_nbytes(self) -> int:
        """Bytes kept beside the codes for the next read."""
        return 0 if self._decoded is None else self._decoded.nbytes

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, Hkv and D."""
        _, batch, kv_heads, _, width = self.codes.shape
        return batch, kv_heads, 2 * width if self.packed else width

    @property
    def nbytes(self) -> int:
        """Bytes that the stored codes take."""
        return self.codes.nbytes

    def write(
        self,
        k: Tensor,
        v: Tensor,
        real: Tensor | None = None,
        absent: Tensor | None = None,
        *,
        validate: bool = True,
    ) -> None:
        """Write tokens k, v (B, Hkv, n, D) in volt; `real` (B, n) is false at pads, which are not written.

        `absent` (B, Hkv, n) is true at tokens that take their column but add nothing to any read. What is stored
        carries no gradient.

        Raises:
            InputError: shapes that do not fit the ring, mixed dtypes or devices, NaN or Inf; unless `validate` is off.
        """
        if validate:
            check_ring(self.shape, Operands(k, k, v, absent=absent), real)
        with torch.no_grad():
            self._write(k, v, real, absent)

    def _write(self, k: Tensor, v: Tensor, real: Tensor | None, absent: Tensor | None) -> None:
        batch, _, n, _ = k.shape
        if self.recording and n > self.config.window:
            for start in range(0, n, self.config.window):
                at = slice(start, start + self.config.window)
                some = [None if x is None else x[..., at] for x in (real, absent)]
                self._write(k[:, :, at], v[:, :, at], *some)
            return
        if real is not None and real.device.type == "cpu" and bool(real.all()):
            real = None
        codes = self._to_store(torch.stack((k, v)), real, absent)
        dtype = torch.promote_types(self.codes.dtype, codes.dtype)  # voltages keep the widest operands' precision
        if dtype != self.codes.dtype:
            self.codes = self.codes.to(dtype)
        if absent is not None and self.absent is None and bool(absent.any()):
            with torch.inference_mode(False):  # as the codes
                self.absent = torch.zeros(self.codes.shape[1:4], dtype=torch.bool, device=self.codes.device)
        if self.absent is not None and absent is None:
            absent = self.absent.new_zeros(k.shape[:3])
        if self.recording:
            self._overwritten.keep(self._about_to_go(n, real))
        else:
            self._overwritten.clear()
        kept = self._kept()
        if real is None and n == 1 and kept is not None:
            columns = [n % self.config.window for n in self._written]
            if max(columns, default=0) < kept.columns:
                self._write_one(kept, codes.to(dtype), absent, columns)
                return
        if real is None:
            real = torch.ones(batch, n, dtype=torch.bool, device=k.device)
        index = self.count[:, None] + real.cumsum(1) - 1
        self.count = self.count + real.sum(1)
        keep = real & (index >= self.count[:, None] - self.config.window)
        rows, tokens = keep.nonzero(as_tuple=True)
        # Advanced indices on both sides of a slice put the token first: (tokens, 2, Hkv, D) on either side.
        self.codes[:, rows, :, index[rows, tokens] % self.config.window] = self._pack(codes.to(dtype))[
            :, rows, :, tokens
        ]
        if self.absent is not None and absent is not None:
            self.absent[rows, :, index[rows, tokens] % self.config.window] = absent[rows, :, tokens]

    def _to_store(self, new: Tensor, real: Tensor | None, absent: Tensor | None) -> Tensor:
        """What the columns of new tokens (2, B, Hkv, n, D), in volt, will hold."""
        if self.model.write_error is None:
            return stored_code(new, self.config)
        y = stored_voltage(new, self.config)
        return overwrite(y, self.codes.to(y.dtype), self.count, real, absent, self.config)

    def _about_to_go(self, n: int, real: Tensor | None) -> Chunk:
        """What the next n tokens of every row, real (B, n) or None for all, will overwrite."""
        rank = torch.arange(n, device=self.count.device).expand(len(self.count), -1)
        index = self.count[:, None] + (rank if real is None else real.cumsum(1) - 1)
        column = index % self.config.window
        heads, width = self.codes.shape[2], self.codes.shape[4]
        codes = self.codes.gather(3, column[None, :, None, :, None].expand(2, -1, heads, -1, width))
        absent = None if self.absent is None else self.absent.gather(2, column[:, None].expand(-1, heads, -1))
        return Chunk(self.count, index if real is None else index.masked_fill(~real, -1), codes, absent)

    def _write_one(self, kept: Decoded, codes: Tensor, absent: Tensor | None, columns: list[int]) -> None:
        """A token of every row, codes (2, B, Hkv, 1, D) and absent (B, Hkv, 1) or None, into its column, while the
        decoded contents are kept and have room for it: in few small steps.
        """
        if len(set(columns)) == 1:
            column = columns[0]
            self.codes.select(3, column).copy_(codes.squeeze(3))
            if self.absent is not None and absent is not None:
                self.absent.select(2, column).copy_(absent.squeeze(2))
        else:
            column = self.count % self.config.window
            rows = torch.arange(len(column), device=column.device)
            self.codes[:, rows, :, column] = codes[:, :, :, 0].transpose(0, 1)
            if self.absent is not None and absent is not None:
                self.absent[rows, :, column] = absent[:, :, 0]
        kept.write(codes, absent, column)
        self._count = self._count + 1
        self._written = [n + 1 for n in self._written]

    def read(self, q: Tensor, preset: Tensor | None = None, *, validate: bool = True) -> Tensor:
        """The output (B, Hq, 1, D) of one query q (B, Hq, 1, D) against what is stored; preset (B, Hq, 1) or None.

        A row that has not written yet gives zero. Without gradient: to learn, use `extend`.

        Raises:
            InputError: as `write`; path "naive" was asked for by name.
        """
        if self.config.path == "naive":
            raise InputError("path 'naive' reads no ring; use extend, or set path to 'auto' or 'blocked'.")
        if validate:
            check_read(self.shape, q, preset)
        with torch.no_grad():
            return self._read(q, preset)

    @outside_autocast
    def _read(self, q: Tensor, preset: Tensor | None) -> Tensor:
        if not q.numel():
            return torch.zeros_like(q)
        model, pulse = self.model, query_pulse(q, self.config)
        if path_of(pulse, model) == "triton":
            from gaincell.ops.triton.decode import triton_read

            offset = None if preset is None else preset[..., 0]
            out, z = triton_read(pulse[:, :, 0], self.codes, self.count, model, offset, self.packed, self.absent)
            return model.output(out[:, :, None], z[..., None]).to(q.dtype)
        return model.output(*self._ready(pulse.dtype).read(pulse, self._written, preset)).to(q.dtype)

    def _used(self, written: list[int]) -> int:
        """Columns of the sub-tiles that hold anything: one sub-tile at least."""
        columns = self.config.subtile_columns
        return min(self.config.window, -(-max([*written, 1]) // columns) * columns)

    def _kept(self) -> Decoded | None:
        """The decoded contents, if they are kept and can be written to: not what inference mode made, outside it."""
        if self._decoded is not None and self._decoded.key.is_inference() and not torch.is_inference_mode_enabled():
            self._decoded = None
        return self._decoded

    def _ready(self, dtype: torch.dtype) -> Decoded:
        """The ring's contents as factors of the products; kept from read to read unless the ring is packed."""
        kept = self._kept()
        if kept is not None and kept.dtype == dtype:
            return kept
        self._written = self.count.tolist()
        codes = self._unpack(self.codes[:, :, :, : self._used(self._written)])
        decoded = Decoded(codes, self.model, dtype, self._written, self.absent)
        if not self.packed and not self.model.aged:  # else what it stands for changes with every token
            self._decoded = decoded
        return decoded

    def extend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        real: Tensor | None = None,
        preset: Tensor | None = None,
        absent: Tensor | None = None,
        *,
        validate: bool = True,
    ) -> Tensor:
        """Write and read a chunk of any length: (B, Hq, n, D), what n times write and read would give.

        But for the last bit of a sum, which may flip a code. Gradients reach q, k and v of this chunk and the preset.

        Args:
            q: (B, Hq, n, D) pulse widths; k, v: (B, Hkv, n, D) volt, after scaling.
            real: (B, n), false at left pads; their output is zero.
            preset: (B, Hq, n) offset on S / S_sat.
            absent: (B, Hkv, n), true at tokens that take their column but are not stored there; see `write`.
            validate: check shapes and finiteness; internal callers that know switch it off.

        Raises:
            InputError: shapes that do not fit the ring or each other, mixed dtypes or devices, NaN or Inf.
        """
        if validate:
            check_ring(self.shape, Operands(q, k, v, preset, absent), real)
        if not q.numel():
            return torch.zeros_like(q)
        grad = torch.is_grad_enabled()
        learning = grad and Operands(q, k, v, preset).learning
        if q.shape[2] == 1 and not learning and self.config.path != "naive":
            with torch.no_grad() if grad else nullcontext():  # entering it once more for every token takes time
                self._write(k, v, real, absent)
                out = self._read(q, preset)
            return out if real is None else out * real[:, None, :, None]
        n, longest = q.shape[2], min(int(self.count.max()), self.config.window)
        few = real is None and not learning and n * _COLUMNS_A_READ <= longest
        alone = (few and not self.packed) or self.model.aged
        path = path_of(q, self.model, learning) if alone else ""
        if path in ("stepwise", "blocked"):
            presets, absents = ([None] * n if x is None else x.split(1, 2) for x in (preset, absent))
            reals = [None] * n if real is None else real.split(1, 1)
            tokens = zip(q.split(1, 2), k.split(1, 2), v.split(1, 2), reals, presets, absents, strict=True)
            reads = [self.extend(*x, validate=False) for x in tokens]
            return torch.cat(reads, 2)
        out = self._in_parallel(Operands(q, k, v, preset, absent), real, learning=learning)
        self.write(k, v, real, absent, validate=False)
        return out

    def _in_parallel(self, new: Operands, real: Tensor | None, *, learning: bool) -> Tensor:
        """What a chunk reads, (B, Hq, n, D): the parallel form, of the stored tokens in their order and the new ones.

        A row begins at a sub-tile's first column, as the ring does for a row whose tokens begin at a multiple of
        subtile_columns. `real` is as in `extend`; `learning`: gradients reach what is new.
        """
        q, config, (batch, _, n, _), start = new.q, self.config, new.q.shape, self.count
        base = (start - config.window).clamp(min=0) // config.subtile_columns * config.subtile_columns
        rank = torch.arange(n, device=q.device).expand(batch, n) if real is None else real.cumsum(1) - 1
        place = start[:, None] - base[:, None] + rank.clamp(min=0)
        length = int((start - base).max()) + n
        column = (base[:, None] + torch.arange(length, device=q.device)) % config.window
        rows, tokens = (torch.ones_like(place, dtype=torch.bool) if real is None else real).nonzero(as_tuple=True)
        at = place[rows, tokens]

        def placed(x: Tensor, into: Tensor) -> Tensor:
            """The new tokens of (B, H, n, ...) where they stand among all."""
            into[rows, :, at] = x[rows, :, tokens]
            return into

        stored = self._unpack(self.codes).movedim(0, 2)  # (B, Hkv, 2, W, D)
        fresh = torch.stack((new.k, new.v), 2)
        ideal = self.model.write_error is None
        codes = (
            stored_code(fresh, config) if ideal else self._to_store(fresh.movedim(2, 0), real, new.absent).movedim(0, 2)
        )
        there = stored.gather(3, column[:, None, None, :, None].expand(*stored.shape[:3], -1, stored.shape[4]))
        codes = placed(codes.movedim(3, 2), there.to(codes.dtype).movedim(3, 2))
        y = code_voltage(codes, config, widen(q).dtype) if ideal else codes
        if learning and ideal:  # the same voltages, with the gradient that a code does not carry
            y = placed(stored_voltage(fresh, config).movedim(3, 2), y)
        queries = placed(query_pulse(q, config), widen(q).new_zeros(batch, q.shape[1], length, q.shape[3]))
        preset = None if new.preset is None else placed(new.preset, new.preset.new_zeros(queries.shape[:3]))
        absent = None
        if self.absent is not None or new.absent is not None:
            absent = torch.zeros(*new.k.shape[:2], length, dtype=torch.bool, device=q.device)
            if self.absent is not None:
                absent = self.absent.gather(2, column[:, None].expand_as(absent))
            absent[rows, :, at] = False if new.absent is None else new.absent[rows, :, tokens]
        yk, yv = y.unbind(3)
        full = attend(Operands(queries, yk, yv, preset, absent, base, converted=True), self.model)
        out = torch.zeros_like(q)
        out[rows, :, tokens] = full[rows, :, at].to(q.dtype)
        return out

    def can_take_back(self, tokens: int) -> bool:
        """Whether `take_back` would not refuse."""
        after = (self.count - tokens).clamp(min=0)
        return self._overwritten.reaches(after, self.count, self.config.window)

    @torch.no_grad()
    def take_back(self, tokens: int) -> None:
        """Forget the last tokens of every row, all of those that have fewer: the ring is what it was before them.

        A token that overwrote another is taken back as long as that one is kept: what was written while `recording`
        was on, the last 1,024 tokens, or as many as the window holds if those are more.

        Raises:
            InputError: tokens that overwrote others which were not kept.
        """
        if not self.can_take_back(tokens):
            raise InputError(
                f"{tokens} tokens cannot be taken back: they overwrote others, and a ring keeps those only while it "
                f"records, of the last {self._overwritten.depth} tokens; switch that on before."
            )
        window, count = self.config.window, self.count
        after = (count - tokens).clamp(min=0)
        for chunk in self._overwritten.take(after):
            rows, at = (chunk.index >= after[:, None]).nonzero(as_tuple=True)
            column = chunk.index[rows, at] % window
            self.codes[:, rows, :, column] = chunk.codes[:, rows, :, at].to(self.codes.dtype)
            if self.absent is not None:
                self.absent[rows, :, column] = False if chunk.absent is None else chunk.absent[rows, :, at]
        kept = self._kept()
        if kept is None or tokens * _COLUMNS_A_READ > window or min(self._written, default=0) < tokens:
            self.count = after
            return
        for back in range(1, tokens + 1):  # few enough to put them right in the decoded contents, too
            column = (count - back) % window
            rows = torch.arange(len(column), device=column.device)
            empty = (count - back < window)[:, None].expand(-1, self.codes.shape[2])
            gone = empty if self.absent is None else empty | self.absent[rows, :, column]
            codes = self.codes[:, rows, :, column].transpose(0, 1)
            kept.write(codes[:, :, :, None], gone[..., None], column)
        self._count, self._written = after, [n - tokens for n in self._written]

    def reorder(self, rows: Tensor) -> None:
        """Take the given rows (B',) of the batch, as beam search does."""
        self._overwritten.clear()
        self.codes, self.count = self.codes.index_select(1, rows), self.count.index_select(0, rows)
        self.absent = None if self.absent is None else self.absent.index_select(0, rows)

    def reset(self) -> None:
        """Forget every token; the arrays stay."""
        self.count, self.absent = torch.zeros_like(self.count), None
        self._overwritten.clear()

    def to(self, device: torch.device | str) -> None:
        """Move the arrays."""
        self._overwritten.clear()
        self.codes, self.count = self.codes.to(device), self.count.to(device)
        self.absent = None if self.absent is None else self.absent.to(device)

    def _pack(self, codes: Tensor) -> Tensor:
        return codes[..., ::2] | codes[..., 1::2] << 4 if self.packed else codes

    def _unpack(self, codes: Tensor) -> Tensor:
        return torch.stack((codes & 15, codes >> 4), -1).flatten(-2) if self.packed else codes
