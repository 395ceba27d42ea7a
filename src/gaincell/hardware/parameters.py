"""Every choice and assumption of the cost model, by name; what its parts take is in `components`."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from gaincell.cell.cell import read_text, read_yaml
from gaincell.errors import InputError, one_sentence
from gaincell.hardware.components import Components
from gaincell.hardware.components.units import in_si
from gaincell.hardware.digital_design import DigitalDesign
from gaincell.hardware.parameter_field import described as _field

_PAPER = "Leroux et al., Nature Computational Science 5, 813-824 (2025)"
_INFERRED = "inferred from published figures"
_ASSUMED = "assumption: not published"


class HardwareParameters(BaseModel):
    """How the parts are put together, clocked and shared. `components` holds what each part takes.

    `digital` is the opponent that every estimate is put beside.

    Frozen; unknown fields are refused; every field has a unit and a source (docs/hardware.md lists them). Latency of a
    layer, T_max, levels and geometry belong to the design point (`GainCellConfig`).

    Raises:
        InputError: one sentence naming the field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    components: Components = Field(default_factory=Components)
    digital: DigitalDesign = Field(default_factory=DigitalDesign)
    node_m: float = _field(
        28e-9, "m", _PAPER, "Technology node; parts given at another are scaled by their rule.", gt=0
    )
    supply_v: float = _field(0.9, "V", _PAPER, "Supply voltage; parts given at another are scaled likewise.", gt=0)

    clock_hz: float = _field(
        1e9,
        "Hz",
        _PAPER,
        "Clock of pulse generators and counters. More levels than it counts within T_max take longer.",
        gt=0,
    )
    write_share: float = _field(
        0.5,
        "-",
        _ASSUMED,
        "Share of layer_latency_s less three pulses that the writing of key and value takes: 10 of 20 ns.",
        ge=0,
        le=1,
    )
    reset_share: float = _field(
        0.25,
        "-",
        _ASSUMED,
        "The same for the reset of the integrators: 5 ns; the digital sum takes the rest.",
        ge=0,
        le=1,
    )
    reference_tiles: int = _field(
        16,
        "sub-tiles",
        _PAPER,
        "Sub-tiles whose read-outs the digital sum within layer_latency_s adds up; with others it goes with the depth "
        "of a binary tree.",
        ge=2,
    )
    differential_reads: int = _field(
        2,
        "reads",
        _ASSUMED,
        "Reads of the first array for one query with query_sign 'differential': one per sign, onto one integrator.",
        ge=1,
    )
    extra_read_latency_s: float | None = _field(
        None,
        "s",
        _ASSUMED,
        "What every read beyond the first adds to the latency. null: the longest pulse of a query.",
        ge=0,
    )
    division_latency_s: float = _field(
        5e-9, "s", _ASSUMED, "What the division by the normaliser adds to the latency: five clock periods.", ge=0
    )
    division_multiply_adds: int = _field(
        8,
        "multiply-adds",
        _ASSUMED,
        "One reciprocal per token and head with a normaliser, by iteration; head_dim multiplications come on top.",
        ge=0,
    )
    offset_rows: int = _field(
        4,
        "rows",
        _ASSUMED,
        "Rows of every sub-tile of the first array that hold the offset with query_sign 'offset_binary', beside its "
        "subtile_rows: written and, at full pulse, read with them, as cells are.",
        ge=0,
    )
    linearised_dac_energy_ratio: float = _field(
        1.25,
        "-",
        _ASSUMED,
        "Energy of a DAC with storage 'linearised', whose levels are taps of a finer ladder, over a uniform one's.",
        ge=1,
    )
    linearised_dac_area_ratio: float = _field(2.0, "-", _ASSUMED, "The same for its area.", ge=1)
    reference_levels: int = _field(
        8, "levels", _PAPER, "Stored levels of the DAC in `components`; energy and area go with levels.", ge=2
    )
    reference_stored_v: float = _field(
        0.9,
        "V",
        _PAPER + "; that energy goes with it: assumption",
        "Highest stored voltage of the DAC in `components`; its energy, and that of the lines it drives, goes with "
        "stored_max_v.",
        gt=0,
    )
    reference_query_levels: int = _field(
        16, "levels", _PAPER, "Query levels of the pulse generator in `components`; its energy goes with them.", ge=2
    )
    reference_output_levels: int = _field(
        32, "levels", _PAPER, "Levels of a read-out that is left unquantised: its counter is built for these.", ge=4
    )

    kv_sharing: Literal["copied", "in_turn"] = _field(
        "copied",
        "-",
        _ASSUMED,
        "Query heads that share keys and values. 'copied': every query head has arrays of its own, written alike. "
        "'in_turn': one pair of arrays per key/value head, which the queries of its group read one after the other.",
    )
    array_pairs: int | None = _field(
        None,
        "pairs",
        "choice",
        "Pairs of arrays that are built. null: one for every head of every layer. With fewer, none keeps its content: "
        "each is filled anew, whole window, from memory before every turn, and never refreshed.",
        ge=1,
    )
    memory_j_per_bit: float = _field(
        3.9e-12,
        "J",
        "O'Connor et al., MICRO 2017: HBM2, 3.9 pJ a bit",
        "Energy of reading a bit of keys and values from memory: what array_pairs makes fetch, and the digital "
        "opponent's with its cache in DRAM.",
        ge=0,
    )
    stacked_layers: int = _field(
        1, "tiers", "choice", "Tiers of arrays over each other: cells of one footprint are shared by so many.", ge=1
    )
    tier_line_ratio: float = _field(
        0.02, "-", _ASSUMED, "What every tier beyond the first adds to the energy of lines, for the vias.", ge=0
    )
    write_line_columns: int | None = _field(
        None,
        "columns",
        _ASSUMED,
        "Columns that a write line passes, and charges, for every value written. null: the whole window; those of a "
        "sub-tile where lines are gated.",
        ge=1,
    )
    cell_pitch_m: float | None = _field(
        None, "m", _ASSUMED, "Distance of two cells along a line. null: a cell is a square of its area.", gt=0
    )
    line_resistivity: float = _field(
        2.7e-8,
        "Ohm m",
        "copper lines some 90 nm wide, with scattering: Steinhoegl et al., Phys. Rev. B 66, 075414 (2002); assumption",
        "Resistivity of word and bit lines.",
        ge=0,
    )
    line_width_m: float = _field(
        90e-9,
        "m",
        "assumption: a layer of twice the smallest pitch, which is 90 nm at 28 nm",
        "Width of word and bit lines.",
        gt=0,
    )
    line_thickness_m: float = _field(
        180e-9, "m", "assumption: twice the width, as such layers have", "Thickness of word and bit lines.", gt=0
    )
    line_step_share: float = _field(
        1.0,
        "-",
        _ASSUMED,
        "Delay of a line over the shortest pulse of a query (one step), up to which one driver drives it; a longer one "
        "is cut into segments. Smaller: more drivers, and less delay.",
        gt=0,
    )
    chip_area_m2: float = _field(
        400e-6, "m2", _ASSUMED, "Area of one chip that arrays and their control may take.", gt=1e-12
    )
    chip_hop_s: float = _field(
        100e-9,
        "s",
        _ASSUMED,
        "Time from one chip to the next: a pair of arrays that is larger than a chip takes one such hop for the query, "
        "and one for every adder on the way of the sum over its chips.",
        ge=0,
    )
    chip_hop_j_per_bit: float = _field(
        1.3e-12,
        "J",
        "NVIDIA NVLink-C2C: Wei et al., ISSCC 2023, paper 9.3",
        "Energy of a bit from one chip to the next.",
        ge=0,
    )

    retention_limit: float = _field(
        1.0,
        "-",
        _ASSUMED,
        "Age over the cell's time constant that a token may reach; at 1 it has 37 % of its voltage left.",
        gt=0,
    )
    refresh: Literal["none", "rewrite"] = _field(
        "none",
        "-",
        "choice",
        "'rewrite': a token that reaches retention_limit is written anew from a digital copy of its codes. 'none': a "
        "window that outlives it is refused.",
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

    _read_units = field_validator("*", mode="before")(in_si)

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise one_sentence(error, "hardware parameters", type(self).model_fields) from None
        if self.write_share + self.reset_share > 1:
            raise InputError(
                "hardware parameters: write_share and reset_share add up to more than 1; lower one of them."
            )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read parameters, components among them, from a YAML or JSON file; what is absent keeps its default.

        A component replaces the default one whole; its figures may carry units, as in `energy_j: 0.6 pJ`.

        Raises:
            InputError: no such file, or a field that is unknown, out of range, or in the wrong unit.
        """
        return cls(**read_yaml(read_text(Path(path)), str(path)))

    @property
    def parts(self) -> Components:
        """The components at `node_m` and `supply_v`.

        Raises:
            InputError: one of them has no rule that brings it there.
        """
        return self.components.at(self.node_m, self.supply_v)
