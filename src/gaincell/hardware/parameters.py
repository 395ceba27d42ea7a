"""Every number and every assumption of the cost estimate, by name."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gaincell.errors import one_sentence

_PAPER = "Leroux et al., Nature Computational Science 5, 813-824 (2025)"
_INFERRED = "inferred from published figures"
_ASSUMED = "assumption: not published"


def _field(default: Any, unit: str, source: str, description: str, **limits: Any) -> Any:
    extra: dict[str, Any] = {"unit": unit, "source": source}
    return Field(default, description=description, json_schema_extra=extra, **limits)


class HardwareParameters(BaseModel):
    """What one head costs at the reference shape, and how that carries over to others.

    Frozen; unknown fields are refused; every field has a unit and a source (docs/hardware.md lists them). Energies
    are per token and query head at the reference shape. Latency of a layer and T_max belong to the design point
    (`GainCellConfig.layer_latency_s`, `pulse_max_s`).

    Raises:
        InputError: one sentence naming the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    reference_window: int = _field(
        1024, "tokens", _PAPER, "Window at which energies and control area below hold.", gt=0
    )
    reference_head_dim: int = _field(64, "cells", _PAPER, "Width of a head at which they hold.", gt=0)
    reference_subtile_columns: int = _field(64, "tokens", _PAPER, "Tokens per sub-tile at which they hold.", gt=0)

    first_array_j: float = _field(
        1120e-12,
        "J",
        _PAPER + "; scaling: assumption",
        "First array with its charge-to-pulse circuits. Scales with window x rows, which are head_dim and those of the "
        "offset, and with the reads of a query.",
        gt=0,
    )
    second_array_j: float = _field(
        700e-12,
        "J",
        _PAPER + "; scaling: assumption",
        "Second array with its read-out. Scales with window x value columns.",
        gt=0,
    )
    dacs_j: float = _field(
        330e-12,
        "J",
        _PAPER + "; scaling: assumption",
        "Conversion of one query, one key and one value vector. Scales with the values converted, whatever the window.",
        gt=0,
    )
    dac_query_share: float = _field(
        1 / 3,
        "-",
        _ASSUMED,
        "Share of dacs_j that a query takes, once per query head; key and value share the rest, once per copy written.",
        ge=0,
        le=1,
    )
    digital_power_w: float = _field(
        113.7e-3,
        "W",
        _PAPER + "; scaling: assumption",
        "Digital control and routing of one head while active. Scales with the read-outs: sub-tiles along the window "
        "x value columns in use.",
        ge=0,
    )
    digital_active_s: float = _field(
        4e-9 / 113.7e-3,
        "s",
        _INFERRED,
        "How long it is active per token: the published 4 nJ over the published 113.7 mW, about 35 ns of the 65 ns.",
        ge=0,
    )
    division_j: float = _field(
        0.0,
        "J",
        _ASSUMED,
        "One digital division, head_dim of them per token and head with a normaliser. 0: not charged.",
        ge=0,
    )

    multiply_add_j: float = _field(
        1.5e-12,
        "J",
        "Horowitz, ISSCC 2014: multiplication and addition of 16-bit floats in 45 nm; assumption: it holds here",
        "One digital multiply-add of what the options take: for a score preset and for digital sinks a prediction per "
        "head from the layer's input (of about query heads x head_dim numbers), for sinks the mixing of an output, for "
        "equalisation the scaling of q and k after rotary embedding (that of v and the output folds into the "
        "projections). The offset of an integrator is not charged.",
        ge=0,
    )

    cell_area_m2: float = _field(1e-12, "m2", _PAPER, "A six-transistor CMOS cell (about 1 um2).", ge=0)
    control_area_m2: float = _field(
        0.5e-6 - 2 * 1024 * 64 * 1e-12,
        "m2",
        _INFERRED,
        "All but the cells of one head: the published 0.5 mm2 with digital control, less the cells. Scales with the "
        "read-out lines built: a line for every sub-tile row, used or not.",
        ge=0,
    )
    oxide_cell_area_m2: float = _field(
        0.12e-12,
        "m2",
        _INFERRED,
        "A denser, oxide-semiconductor cell: from the quoted 15.7e-3 mm2 of one head's crossbars. Not in the total.",
        ge=0,
    )
    stacked_cell_area_m2: float = _field(
        0.28e-12,
        "m2",
        _INFERRED,
        "A cell of crossbars stacked over each other: from the quoted 36.7e-3/N mm2 of one head. Not in the total.",
        ge=0,
    )

    kv_sharing: Literal["copied", "in_turn"] = _field(
        "copied",
        "-",
        _ASSUMED,
        "Query heads that share keys and values. 'copied': every query head has arrays of its own, written alike. "
        "'in_turn': one pair of arrays per key/value head, which the queries of its group read one after the other.",
    )
    differential_reads: int = _field(
        2,
        "reads",
        _ASSUMED,
        "Reads of the first array for one query with query_sign 'differential'; each costs a whole first_array_j.",
        ge=1,
    )
    offset_rows: int = _field(
        4,
        "rows",
        _ASSUMED,
        "Rows of every sub-tile of the first array that hold the offset with query_sign 'offset_binary', beside its "
        "subtile_rows: written and read with them, as cells are.",
        ge=0,
    )
    extra_read_latency_s: float | None = _field(
        None,
        "s",
        _ASSUMED,
        "What every read beyond the first adds to the latency. null: T_max of the design point.",
        ge=0,
    )

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "hardware parameters") from None
