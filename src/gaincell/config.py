"""One frozen, validated description of a design point."""

import hashlib
import math
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from gaincell.cell import Cell, load_cell
from gaincell.cell.cell import is_file, read_json, read_text, read_yaml
from gaincell.cell.polarity import is_one_signed
from gaincell.cell.pulse import HARD_SIGMOID, PulseLaw, circuit_law
from gaincell.digital_heads import check_layers, digital_entries, digital_heads
from gaincell.errors import InputError, one_sentence

_SHIPPED = resources.files("gaincell") / "design_points"

_PAPER = "Leroux et al., Nature Computational Science 5, 813-824 (2025)"
_CODE = "released training code of Leroux et al. 2025"
_ASSUMED = "assumption: not published"


#: What a field is about: the hardware; what its circuits do beside their charge law and leak; what reports call it; how
#: the simulation computes; how a model learns on it.
Kind = Literal["hardware", "circuit", "label", "execution", "learning"]


def _field(
    default: Any,
    unit: str,
    source: str,
    description: str,
    *,
    kind: Kind = "hardware",
    cell: bool = False,
    **limits: Any,
) -> Any:
    """A field; `cell`: it may change where an adapted model is moved to another cell."""
    extra: dict[str, Any] = {"unit": unit, "source": source, "kind": kind, "cell": cell}
    return Field(default, description=description, json_schema_extra=extra, **limits)


def _mark(field: FieldInfo, name: str) -> Any:
    extra: Any = field.json_schema_extra
    return extra[name]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


class GainCellConfig(BaseModel, frozen=True):
    """A design point: geometry, levels, voltages, cell, timing and options.

    Frozen; unknown fields are refused; every field has a unit, a source and a default that means something
    (docs/parameters.md lists them). Voltages are in volt, times in second.

    Raises:
        InputError: one sentence naming the field, on construction from Python, JSON or YAML alike.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True)

    name: str = _field("custom", "-", "-", "What reports call this design point.", kind="label", cell=True)

    window: int = _field(
        1024,
        "tokens",
        _PAPER,
        "Columns of one head's key and value arrays: the sliding window of attention.",
        gt=0,
        le=1 << 24,
    )
    subtile_columns: int = _field(
        64, "tokens", _PAPER, "Tokens per sub-tile: the sum that one read-out clamps and quantises.", gt=0
    )
    subtile_rows: int = _field(
        64,
        "cells",
        _PAPER,
        "Rows of a sub-tile. S is summed over all of head_dim, so that cost alone depends on it, but for cells of "
        "polarity 'reference' that differ: the reference cells of values are shared by these rows.",
        gt=0,
    )

    query_levels: int | None = _field(
        16, "levels", _PAPER, "Pulse widths of one query polarity; null leaves queries unquantised.", ge=2, le=1 << 16
    )
    stored_levels: int | None = _field(
        8, "levels", _PAPER, "Voltages a key or value cell can hold; null leaves them unquantised.", ge=2, le=256
    )
    output_levels: int | None = _field(
        32,
        "levels",
        _PAPER,
        "Levels of a sub-tile's read-out over -1...1; null: unquantised. 2 with readout 'reference' are code 0 alone.",
        ge=2,
        le=1 << 16,
    )
    readout: Literal["reference", "counter"] = _field(
        "reference",
        "-",
        _CODE + " (reference); assumption (counter)",
        "How the read-out counts. 'reference': step 2/(levels - 1), which reaches code +-16 of 32 as the published "
        "results do; 'counter': sign and magnitude up to +-15 of 32, as a sign and 4-bit counter can.",
    )

    stored_max_v: float = _field(
        0.9, "V", _PAPER, "Highest stored voltage; the lowest is 0 V.", gt=0, allow_inf_nan=False
    )
    zero_v: float = _field(
        0.45, "V", _PAPER, "Stored voltage that stands for zero: y = stored - zero.", gt=0, allow_inf_nan=False
    )

    score_saturation: float = _field(
        80.0, "model charge", _CODE, "S_sat: phi = clamp(S / S_sat, 0, 1).", gt=0, allow_inf_nan=False
    )
    output_scale: float = _field(
        40.0,
        "model charge",
        _CODE,
        "The charge of a sub-tile that reads out as 1: o = quantise(clamp(sum phi f(y) / output_scale, -1, 1)).",
        ge=1e-20,  # float32 holds what is divided by it
        le=1e20,
        allow_inf_nan=False,
    )

    cell: Cell = _field(
        "leroux2025",
        "-",
        _CODE,
        "The gain cell: a shipped cell's name, the path of a cell file, or its content.",
        cell=True,
    )
    pulse_max_s: float = _field(
        15e-9, "s", _PAPER, "T_max: the longest word-line pulse (phi = 1).", gt=0, allow_inf_nan=False
    )
    layer_latency_s: float = _field(
        65e-9,
        "s",
        _PAPER,
        "Attention latency of one token in one layer (heads run in parallel).",
        gt=0,
        allow_inf_nan=False,
    )
    token_period_s: float | None = _field(
        None,
        "s",
        "layers x layer_latency_s: 0.78 us for the paper's 12 layers",
        "Time from one token to the next. null: set from the model's layers when a model is converted.",
        gt=0,
        allow_inf_nan=False,
        cell=True,
    )
    leak_per_token: float | None = _field(
        None,
        "1/token",
        _CODE + " sets 1.6e-4",
        "lambda: y(age) = y exp(-lambda age). null: follows as token_period_s / tau of the cell.",
        ge=0,
        le=1,
        allow_inf_nan=False,
        cell=True,
    )

    gradient: Literal["linear-law", "true-law"] = _field(
        "linear-law",
        "-",
        _CODE,
        "The cell law in the backward pass: 'linear-law' puts surrogate_slope * y in its place, as published; "
        "'true-law' differentiates the cell's own law.",
        kind="learning",
    )
    surrogate_slope: float = _field(
        19.3,
        "model charge/V",
        _CODE,
        "Slope of the surrogate linear law of the backward pass.",
        gt=0,
        allow_inf_nan=False,
        kind="learning",
    )

    normaliser: Literal["none", "ideal", "column"] = _field(
        "none",
        "-",
        "option: not in the published design",
        "'ideal': one more value column holds a constant, so that Z = sum phi is known exactly, and the digital side "
        "divides the output by Z + normaliser_epsilon. 'column': Z is read out as outputs are, from one column per "
        "entry of normaliser_ranges.",
    )
    normaliser_ranges: tuple[float, ...] = _field(
        (4.0, 16.0, 64.0),
        "pulse widths",
        _ASSUMED,
        "Full scales of the reference columns of normaliser 'column': each sub-tile reads out the sum of its phi in "
        "the finest range that holds it, clamped and quantised as its outputs are. A reference column is tied to a "
        "bias line: it does not leak, and no DAC writes it.",
    )
    normaliser_epsilon: float = _field(
        math.exp(-1),
        "pulse widths",
        _ASSUMED,
        "Keeps the division finite when no pulse fires.",
        gt=0,
        allow_inf_nan=False,
    )
    query_sign: Literal["unsigned", "differential", "offset_binary"] = _field(
        "unsigned",
        "-",
        "option: not in the published design (differential); the same, and assumption: exact offset (offset_binary)",
        "'unsigned': q in [0, 1], as published. 'differential': q in [-1, 1] by two reads of the key array, "
        "sign and magnitude. 'offset_binary': q in [-1, 1] by one read, of pulses (q + 1)/2 of query_levels widths in "
        "all (evenly many have no zero between them), less half of what all cells give at a full pulse, which extra "
        "rows of the key array hold.",
    )
    storage: Literal["uniform", "linearised"] = _field(
        "uniform",
        "-",
        "option: not in the published design (linearised)",
        "'uniform': evenly spaced voltages. 'linearised': the DAC's voltages are spaced so that the charge of a stored "
        "value is even between its values at 0 V and stored_max_v.",
        cell=True,
    )

    equalisation: bool = _field(
        False,
        "-",
        "option: not in the published design",
        "true: the digital scaling x <- a x + b of q, k, v and the output is per head and channel, so that every "
        "channel fills its range; false: per head, as published.",
    )
    score_preset: bool = _field(
        False,
        "-",
        "option: not in the published design",
        "true: the integrators of a query start from an offset on S / S_sat that the digital side predicts from the "
        "layer's input; it stands for the sum that softmax divides by.",
    )
    sinks: Literal["none", "digital"] = _field(
        "none",
        "-",
        "option: not in the published design (digital)",
        "'digital': the first token, and others with a short value, stay out of the arrays, and the first one's value "
        "is mixed into the output digitally.",
    )

    digital: tuple[int | str, ...] = _field(
        (),
        "-",
        "option: not in the published design",
        "Layers (24), and single query heads of layers ('20.3': head 3 of layer 20), that keep softmax and an ordinary "
        "cache, in digital, while the others attend in gain cells. Both are counted from 0, layers among those that "
        "attend.",
        cell=True,
    )

    mismatch_seed: int | None = _field(
        None,
        "-",
        "option: how one array's cells differ from another's (not in the published design)",
        "Draws arrays whose cells differ: each reads (1 + gain) f(y e^(-leak age) - zero) with a gain and a zero of "
        "its own, fixed, independent and normal; both cells of a pair, and reference cells. The same seed gives the "
        "same arrays; every layer of a model has its own. null: all cells are equal.",
        ge=0,
        lt=1 << 63,
        kind="circuit",
    )
    mismatch_gain: float | None = _field(
        None,
        "1",
        "the cell file's circuit.mismatch.gain",
        "Standard deviation of the cells' gains, where mismatch_seed draws them. null: the cell's own.",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    mismatch_zero_v: float | None = _field(
        None,
        "V",
        "the cell file's circuit.mismatch.zero_crossing_v",
        "Standard deviation of the stored voltages that give no charge, or, of cells of one sign, the charge of zero, "
        "where mismatch_seed draws them. null: the cell's own.",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    retention: Literal["exponential", "table"] = _field(
        "exponential",
        "-",
        "option: the cell file's retention.table",
        "'table': a stored voltage decays as the cell's table has it, linear between its entries, at an age of "
        "token_period_s a token; it takes as many products as stored_levels (times the law's coefficients where cells "
        "differ). 'exponential': by the leak.",
        kind="circuit",
    )
    retention_seed: int | None = _field(
        None,
        "-",
        "option: how one cell's retention differs from another's (not in the published design)",
        "Draws arrays whose cells leak each at its own rate: a cell is exp(retention_spread normal) times as old as "
        "its token, fixed and independent; references of cells of one sign do not leak. The same seed gives the same "
        "arrays; every layer of a model has its own. Outputs are computed token by token, without gradients. null: all "
        "cells leak alike.",
        ge=0,
        lt=1 << 63,
        kind="circuit",
    )
    retention_spread: float | None = _field(
        None,
        "1",
        "the cell file's retention.spread.sigma",
        "Standard deviation of the logarithm of the cells' retention times, where retention_seed draws them. null: the "
        "cell's own.",
        ge=0,
        le=5,
        allow_inf_nan=False,
    )
    refresh_tokens: int | None = _field(
        None,
        "tokens",
        "option: not in the published design",
        "A token that is so old is written anew from a digital copy of its codes, exactly as before, and again when it "
        "is so much older: cells leak since they were last written. Estimates count it, and refuse an age beyond "
        "retention_limit. null: no token is rewritten in simulation.",
        ge=1,
        le=1 << 24,
        kind="circuit",
    )
    refresh: Literal["copy", "read"] = _field(
        "copy",
        "-",
        "option: not in the published design",
        "What refresh_tokens writes anew. 'copy': what a digital copy holds, exactly as before. 'read': what the cell "
        "itself holds by then, rounded to the nearest stored level, so that a voltage that has moved by more than half "
        "a step stays at another level; each cell of a pair by itself. Takes as many products as stored_levels. "
        "Estimates have no price of it.",
        kind="circuit",
    )
    writes: Literal["ideal", "cell"] = _field(
        "ideal",
        "-",
        "option: the cell file's circuit.write.errors",
        "'cell': a cell that is to be written to y and held h before is written to y + E(y, h), the cell file's table, "
        "linear between its entries; h is what the token before it in its column, `window` tokens older, has left. A "
        "token that takes its column but is not stored leaves its cells as they are. Needs cells that are a value "
        "alone or beside a reference, and no refresh. 'ideal': exactly to y.",
        kind="circuit",
    )
    unwritten_v: float | None = _field(
        None,
        "V",
        _ASSUMED,
        "What a cell holds that was never written, where writes 'cell' asks for it. null: zero_v, as after a reset.",
        ge=0,
        le=2,
        allow_inf_nan=False,
    )
    read_disturb: Literal["ideal", "cell"] = _field(
        "ideal",
        "-",
        "option: the cell file's circuit.read.disturb",
        "'cell': every read of a token by a later one shifts what its cells hold, by the cell file's table of shifts "
        "after so many full reads, linear between its entries and as in its last one beyond; written anew, a cell has "
        "not been read. Takes as many products as stored_levels, as retention 'table' does. 'ideal': reading costs a "
        "cell nothing.",
        kind="circuit",
    )
    disturb_reads: float = _field(
        1.0,
        "full reads/token",
        "assumption: 1, the worst case of one query head an array, all pulses as long as the longest",
        "How many full reads of a stored token each later token stands for, where read_disturb counts them: the mean "
        "width of the pulses that its cells get, in units of pulse_max_s, times the query heads that share its array.",
        ge=0,
        le=1e6,
        allow_inf_nan=False,
    )
    charge_to_pulse: Literal["ideal", "cell"] = _field(
        "ideal",
        "-",
        "option: the cell file's circuit.charge_to_pulse and circuit.signed_charge_to_pulse",
        "'cell': charge-to-pulse circuits have the cell's gain and offset: phi = clamp(gain (S / S_sat + preset) + "
        "offset, 0, 1) where S / S_sat + preset > 0, else 0, and a read-out of charge o, outputs and reference columns "
        "alike, counts sign(o) (gain |o| + offset), not below zero; offsets in units of pulse_max_s. 'ideal': gain 1, "
        "offset 0.",
        kind="circuit",
        cell=True,
    )
    pulse_law: Literal["hard_sigmoid", "cell"] = _field(
        "hard_sigmoid",
        "-",
        "option: the cell file's pulse",
        "How long a pulse the charge of a column starts: 'cell' as the cell's own pulse law has it, a polyline of S / "
        "S_sat + preset, which stands for the gain and offset of the first product's circuits, too. 'hard_sigmoid': "
        "phi = clamp(S / S_sat + preset, 0, 1), as published.",
        kind="circuit",
        cell=True,
    )
    feedthrough: bool = _field(
        False,
        "-",
        "option: the cell file's circuit.read.feedthrough",
        "true: every pulse of any width adds the charge F(y e^(-leak age)) of each cell's feedthrough beside f times "
        "width; negative pulses subtract it, and the reference of offset-binary queries holds it too. No gradient "
        "passes it.",
        kind="circuit",
    )
    score_noise: float = _field(
        0.0,
        "S_sat",
        _ASSUMED,
        "Standard deviation of the noise that every column's S / S_sat gets at every read.",
        ge=0,
        allow_inf_nan=False,
        kind="circuit",
    )
    readout_noise: float = _field(
        0.0,
        "output_scale",
        _ASSUMED,
        "Standard deviation of the noise that every sub-tile's charge gets at every read-out, in units of what reads "
        "out as 1.",
        ge=0,
        allow_inf_nan=False,
        kind="circuit",
    )
    noise_seed: int | None = _field(
        None,
        "-",
        "option: how the simulation draws noise",
        "Noise by query head, token and column or sub-tile: a token that is read twice meets the same noise, on every "
        "path. null: from torch's generator, new at every call.",
        ge=0,
        lt=1 << 63,
    )

    leak_form: Literal["cell", "factored"] = _field(
        "cell",
        "-",
        "option: an approximation (factored)",
        "'cell': the stored voltage decays and the law is read at what is left, f(y e^(-leak age)). 'factored': the "
        "charge decays as a whole, f(y) e^(-leak age), which takes as many products as no leak; for training.",
        kind="learning",
    )
    matmul: Literal["float32", "tf32", "bfloat16"] = _field(
        "float32",
        "-",
        "option: how the simulation computes, not what (tf32, bfloat16)",
        "What the operands of the two products are rounded to; sums are in float32 always. float64 operands stay.",
        kind="execution",
    )
    path: Literal["auto", "naive", "blocked", "triton"] = _field(
        "auto",
        "-",
        "option: how the simulation computes, not what",
        "Which implementation computes: 'auto' takes 'triton' on a GPU, if it serves all that is asked, and 'blocked' "
        "elsewhere; one that is named refuses what it cannot compute. 'naive' is the oracle, without gradients.",
        kind="execution",
    )

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "design point", type(self).model_fields) from None

    @model_validator(mode="before")
    @classmethod
    def _retired(cls, fields: Any) -> Any:
        """Older files say how sums are taken: in floating point, as all of them are now."""
        if isinstance(fields, dict) and "arithmetic" in fields:
            if fields["arithmetic"] != "float":
                raise ValueError("arithmetic 'integer' is not computed any more; leave the field arithmetic out.")
            return {name: value for name, value in fields.items() if name != "arithmetic"}
        return fields

    @field_validator("cell", mode="before")
    @classmethod
    def _load_cell(cls, value: Any) -> Any:
        return load_cell(value) if isinstance(value, str | Path) else value

    @field_validator("digital", mode="before")
    @classmethod
    def _in_order(cls, value: Any) -> tuple[int | str, ...]:
        return digital_entries(value)

    @field_validator("normaliser_ranges")
    @classmethod
    def _increasing(cls, ranges: tuple[float, ...]) -> tuple[float, ...]:
        if not ranges or not all(low < high < math.inf for low, high in zip((0.0, *ranges), ranges, strict=False)):
            raise ValueError("Ranges must be positive, finite and increasing, and there must be one at least.")
        return ranges

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_arrays()
        self._check_cell()
        return self

    def _check_arrays(self) -> None:
        if self.window % self.subtile_columns:
            below = self.window - self.window % self.subtile_columns
            raise ValueError(
                f"window {self.window} is not a multiple of subtile_columns {self.subtile_columns}; "
                f"use {f'{below} or ' if below else ''}{below + self.subtile_columns}."
            )
        if self.zero_v >= self.stored_max_v:
            raise ValueError(f"zero_v {self.zero_v} must lie below stored_max_v {self.stored_max_v}.")
        if self.storage == "linearised":
            if self.stored_levels is None:
                raise ValueError("storage 'linearised' spaces DAC levels, so it needs stored_levels.")
            if not self._law_is_increasing():
                raise ValueError("storage 'linearised' needs a charge law that increases over the stored range.")

    def _check_cell(self) -> None:
        """That the cell is read as it was characterised, what it needs of the voltages, and some options of it."""
        self._check_conditions()
        self._check_polarity()
        if self.mismatch_seed is not None and None in self._mismatch:
            raise ValueError(
                f"mismatch_seed asks for cells that differ, but cell '{self.cell.name}' has no mismatch figures; "
                "set mismatch_gain and mismatch_zero_v, or characterise the cell with --mismatch."
            )
        if self.retention_seed is not None:
            self._check_spread()
        if self.retention == "table":
            self._check_table()
        if self.refresh == "read":
            self._check_refresh()
        if self.writes == "cell":
            self._check_writes()
        if self.read_disturb == "cell":
            self._check_disturb()
        if self.charge_to_pulse == "cell":
            self._check_converters()
        if self.pulse_law == "cell" and self.cell.pulse is None:
            raise ValueError(
                f"pulse_law 'cell' needs a cell whose file has a pulse law; cell '{self.cell.name}' has none."
            )
        if self.feedthrough and self.cell.model_feedthrough(self.pulse_max_s) is None:
            raise ValueError(
                f"feedthrough needs a cell that was characterised, with a law in C/s; cell '{self.cell.name}' was not."
            )

    def _check_conditions(self) -> None:
        found = self.cell.conditions
        if found is None:
            return
        if not math.isclose(self.zero_v, found.zero_v, rel_tol=1e-9):
            raise ValueError(
                f"cell '{self.cell.name}' was characterised with its bit line at {found.zero_v:g} V, but zero_v is "
                f"{self.zero_v:g}; set zero_v to that, or characterise the cell with --zero."
            )
        if self.stored_max_v > found.vdd_v * (1 + 1e-9):
            raise ValueError(
                f"cell '{self.cell.name}' was characterised at a supply of {found.vdd_v:g} V, below stored_max_v "
                f"{self.stored_max_v:g}; lower that, or characterise the cell with --vdd."
            )

    def _check_polarity(self) -> None:
        polarity, low, high = self.cell.polarity, -self.zero_v, self.stored_max_v - self.zero_v
        if polarity == "pair" and not math.isclose(high, -low, rel_tol=1e-9):
            raise ValueError(
                f"polarity 'pair' of cell '{self.cell.name}' writes zero + y and zero - y, so zero_v must be half of "
                f"stored_max_v {self.stored_max_v}, not {self.zero_v}."
            )
        if polarity != "push_pull" and not is_one_signed(self.cell.law, low, high):
            raise ValueError(
                f"polarity '{polarity}' of cell '{self.cell.name}' is for a law of one sign, but its law turns between "
                f"0 V and stored_max_v {self.stored_max_v}."
            )
        if self.leak_form == "factored" and self.cell.retention.ends_at_v:
            raise ValueError(
                f"leak_form 'factored' lets charges decay to nothing, but cell '{self.cell.name}' ends at "
                f"{self.cell.retention.ends_at_v} V above its zero; use leak_form 'cell'."
            )

    def _check_spread(self) -> None:
        if self.known_spread is None:
            raise ValueError(
                f"retention_seed asks for cells that leak each at its own rate, but cell '{self.cell.name}' has no "
                "retention.spread; set retention_spread, measure several cells, or characterise the cell with "
                "--mismatch."
            )
        if self.leak_form == "factored":
            raise ValueError(
                "retention_seed draws cells whose stored voltages decay, which leak_form 'factored' has not; use "
                "leak_form 'cell'."
            )

    def _check_table(self) -> None:
        table = self.cell.retention.table
        if table is None or len({row[0] for row in table.stored}) < max(2, len(table.stored)):
            raise ValueError(
                f"retention 'table' needs a cell with a table of two or more written voltages, each once; cell "
                f"'{self.cell.name}' has none."
            )
        if self.leak_per_token is not None or self.stored_levels is None or self.leak_form == "factored":
            raise ValueError(
                "retention 'table' needs stored_levels, leak_form 'cell', and leak_per_token null, so that a "
                "token's age follows from token_period_s."
            )

    def _check_refresh(self) -> None:
        if self.refresh_tokens is None:
            raise ValueError("refresh 'read' needs refresh_tokens, which says when a token is read and written anew.")
        if self.stored_levels is None or self.leak_form == "factored" or self.retention_seed is not None:
            raise ValueError(
                "refresh 'read' rounds to stored levels, so it needs stored_levels, leak_form 'cell', and "
                "retention_seed null."
            )

    def _check_writes(self) -> None:
        circuit = self.cell.circuit
        if not (circuit and circuit.write and circuit.write.errors):
            raise ValueError(
                f"writes 'cell' needs a cell whose file says what its writes are off by (circuit.write.errors); cell "
                f"'{self.cell.name}' does not: characterise its circuit (gaincell characterize), or measure them."
            )
        if self.cell.polarity == "pair":
            raise ValueError(
                "writes 'cell' is for cells that are a value alone or beside a reference; both cells of a pair would "
                "be off by themselves."
            )
        if self.refresh_tokens is not None or self.retention_seed is not None:
            raise ValueError(
                "writes 'cell' knows no refresh_tokens, whose writes find their own token, and no retention_seed; "
                "leave them null."
            )

    def _check_disturb(self) -> None:
        circuit = self.cell.circuit
        if not (circuit and circuit.read and circuit.read.disturb):
            raise ValueError(
                f"read_disturb 'cell' needs a cell whose file says what many reads do to it (circuit.read.disturb); "
                f"cell '{self.cell.name}' does not: characterise its circuit (gaincell characterize), or measure it."
            )
        if self.stored_levels is None or self.leak_form == "factored" or self.retention_seed is not None:
            raise ValueError(
                "read_disturb 'cell' needs stored_levels, leak_form 'cell', and retention_seed null, so that a voltage "
                "follows from its code and its age."
            )

    def _check_converters(self) -> None:
        circuit = self.cell.circuit
        figures = circuit and circuit.charge_to_pulse
        if not (circuit and figures and circuit.signed_charge_to_pulse):
            raise ValueError(
                "charge_to_pulse 'cell' needs a cell whose charge-to-pulse circuits were characterised, of both "
                f"kinds; cell '{self.cell.name}' has no such figures."
            )
        if (offset := figures.offset_s / self.pulse_max_s) >= 1.0:
            raise ValueError(
                f"the charge-to-pulse circuits of cell '{self.cell.name}' have an offset of {offset:.3g} times "
                "pulse_max_s, so that every pulse would be a full one; use longer pulses."
            )

    @property
    def _mismatch(self) -> tuple[float | None, float | None]:
        """Standard deviations of gain and zero, whether drawn or not."""
        own = self.cell.circuit and self.cell.circuit.mismatch
        gain = own.gain if own and self.mismatch_gain is None else self.mismatch_gain
        return gain, own.zero_crossing_v if own and self.mismatch_zero_v is None else self.mismatch_zero_v

    @cached_property
    def mismatch(self) -> tuple[float, float] | None:
        """Standard deviations of the cells' gain and of their zero in volt; None where all cells are equal."""
        gain, zero_v = self._mismatch
        return None if self.mismatch_seed is None or not (gain or zero_v) else (gain or 0.0, zero_v or 0.0)

    @property
    def known_spread(self) -> float | None:
        """Standard deviation of ln(retention time) from cell to cell, whether drawn or not; None if not known."""
        own = self.cell.retention.spread
        return own.sigma if own and self.retention_spread is None else self.retention_spread

    @cached_property
    def leak_spread(self) -> float | None:
        """Standard deviation of ln(retention time) from cell to cell; None where all cells leak alike, or none does.

        Raises:
            InputError: as `leak`.
        """
        return None if self.retention_seed is None or not self.leak else self.known_spread or None

    @property
    def tabled(self) -> bool:
        """Whether what is left of a voltage is a table by code and age."""
        return self.retention == "table" or self.read_disturb == "cell" or self.refresh == "read"

    @cached_property
    def aged(self) -> bool:
        """Whether cells must be read one by one as old as they are, since no code and age tell what they hold.

        Raises:
            InputError: as `leak`.
        """
        return (self.writes == "cell" and self.tabled) or self.leak_spread is not None

    @cached_property
    def changed(self) -> tuple[str, ...]:
        """Fields that do not have their default: what computes must know every one of them, or refuse."""
        fields = type(self).model_fields
        return tuple(name for name, field in fields.items() if getattr(self, name) != field.default)

    @cached_property
    def gate(self) -> PulseLaw:
        """phi of S / S_sat + preset, as `pulse_law` and `charge_to_pulse` ask for it."""
        figures = self.cell.circuit and self.cell.circuit.charge_to_pulse
        if self.pulse_law == "cell" and self.cell.pulse is not None:
            return self.cell.pulse
        if self.charge_to_pulse == "ideal" or figures is None:
            return HARD_SIGMOID
        return circuit_law(figures.gain, figures.offset_s / self.pulse_max_s, figures.source)

    @cached_property
    def signed_conversion(self) -> tuple[float, float]:
        """Gain and offset of the second product's charge-to-pulse circuits, the offset in units of pulse_max_s."""
        figures = self.cell.circuit and self.cell.circuit.signed_charge_to_pulse
        if self.charge_to_pulse == "ideal" or figures is None:
            return 1.0, 0.0
        return figures.gain, figures.offset_s / self.pulse_max_s

    def _law_is_increasing(self) -> bool:
        slope = self.cell.model_law.derivative()
        grid = (self.stored_max_v * i / 1024 - self.zero_v for i in range(1025))
        return all(slope(y) > 0 for y in grid)

    @cached_property
    def stored_voltages(self) -> tuple[float, ...]:
        """y of every code as it is written, ascending, in V; none where voltages are not quantised.

        "linearised" spaces them so that the charge f(y) is even.
        """
        top, law, low = (self.stored_levels or 0) - 1, self.cell.model_law, -self.zero_v
        if self.storage == "uniform":
            return tuple(low + self.stored_max_v * m / top for m in range(top + 1))
        bottom, head = law(low), law(self.stored_max_v + low)
        return tuple(self._stored_at(bottom + (head - bottom) * m / top) for m in range(top + 1))

    def _stored_at(self, charge: float) -> float:
        """y in the stored range with f(y) = charge, by bisection; f increases there (linearised storage wants it)."""
        law, low, high = self.cell.model_law, -self.zero_v, self.stored_max_v - self.zero_v
        for _ in range(64):
            middle = (low + high) / 2
            low, high = (middle, high) if law(middle) < charge else (low, middle)
        return (low + high) / 2

    @property
    def tiles(self) -> int:
        """Sub-tiles along the window."""
        return self.window // self.subtile_columns

    @property
    def leak(self) -> float:
        """lambda per token: `leak_per_token`, else token_period_s / tau of the cell.

        Raises:
            InputError: neither leak_per_token nor token_period_s is set.
        """
        if self.leak_per_token is not None:
            return self.leak_per_token
        if self.token_period_s is None:
            raise InputError(
                "design point: leak_per_token and token_period_s are both unset; set one of them "
                "(converting a model sets token_period_s from its number of layers)."
            )
        return self.token_period_s / self.cell.retention.tau_s

    def digital_heads(self, layer: int, heads: int) -> tuple[int, ...]:
        """Which of the query heads 0 ... heads - 1 of a layer are digital, ascending.

        Raises:
            InputError: the layer has no such head.
        """
        return digital_heads(self.digital, layer, heads)

    def for_layers(self, layers: int) -> Self:
        """This design point in a model of so many layers that attend: fills token_period_s where it is unset.

        A digital layer counts as one of the others, at `layer_latency_s` (assumption): the same arrays then leak alike,
        whichever layers are digital. What digital layers take by their parts, `gaincell.hardware.estimate` says.

        Raises:
            InputError: `digital` names a layer beyond them.
        """
        check_layers(self.digital, layers)
        if self.token_period_s is not None:
            return self
        return self.replace(token_period_s=layers * self.layer_latency_s)

    def without(self, *kinds: Kind) -> Self:
        """This design point with all fields of some kinds at their defaults."""
        fields = type(self).model_fields.items()
        return self.replace(**{name: field.default for name, field in fields if _mark(field, "kind") in kinds})

    def ideal(self) -> Self:
        """This design point with circuits that do nothing but follow the charge law and leak."""
        return self.without("circuit")

    @property
    def hardware(self) -> Self:
        """What an adapter is for: this design point, whatever it is called, is computed by, and is learned with."""
        return self.without("label", "execution", "learning")

    def for_layer(self, layer: int) -> Self:
        """This design point in the arrays of one layer: what seeds draw is that layer's, and nothing is digital."""
        seeds = {name: getattr(self, name) for name in ("mismatch_seed", "retention_seed", "noise_seed")}
        own: dict[str, Any] = {name: _hash(f"{seed} {layer}") for name, seed in seeds.items() if seed is not None}
        own |= {"digital": ()} if self.digital else {}
        return self.replace(**own) if own else self

    def replace(self, /, **changes: Any) -> Self:
        """A copy with some fields changed, validated like a new one; `cell` may be a name or a path."""
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

    @classmethod
    def names(cls) -> list[str]:
        """Names of the design points that ship with the package."""
        return sorted(p.name.removesuffix(".yaml") for p in _SHIPPED.iterdir() if p.name.endswith(".yaml"))

    @classmethod
    def named(cls, name: str) -> Self:
        """A shipped design point by name.

        Raises:
            InputError: no design point of that name.
        """
        if name not in cls.names():
            raise InputError(f"unknown design point '{name}'; choose one of {', '.join(cls.names())}.")
        return cls(**read_yaml((_SHIPPED / f"{name}.yaml").read_text("utf-8"), f"design point {name}"))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a design point from a .yaml, .yml or .json file, or take a shipped one's name.

        Raises:
            InputError: no such file, not YAML or JSON, or a field that is unknown or out of range.
        """
        if str(path) in cls.names():
            return cls.named(str(path))
        path = Path(path)
        if not is_file(path):
            raise InputError(
                f"design point '{path}' is neither a shipped one ({', '.join(cls.names())}) nor a file; check the name."
            )
        fields = read_json(path) if path.suffix == ".json" else read_yaml(read_text(path), str(path))
        if "law" in fields:
            raise InputError(f"{path} is a cell file, not a design point; write one whose field 'cell' names it.")
        try:
            return cls(**fields)
        except InputError as error:
            raise InputError(str(error).replace("design point:", f"design point {path}:", 1)) from None

    def to_yaml(self) -> str:
        """The whole design point, cell included, as YAML that `load` reads back to an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def to_json(self) -> str:
        """The whole design point, cell included, as JSON that `load` reads back to an equal config."""
        return self.model_dump_json(indent=2)

    @classmethod
    def of_cell(cls) -> frozenset[str]:
        """Fields that may change where an adapted model is moved to another cell."""
        return frozenset(name for name, field in cls.model_fields.items() if _mark(field, "cell"))
