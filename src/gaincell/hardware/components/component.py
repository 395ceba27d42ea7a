"""One part of the hardware: what an action of it takes, what it stands on, and where the figures come from."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gaincell.errors import InputError
from gaincell.hardware.components.units import in_si


class Component(BaseModel):
    """A part of the hardware: per action and per instance, at one node and supply.

    Every figure is in SI units; as text it carries its own unit, which must be of the field's kind: `energy_j: 0.6 pJ`.

    Attributes:
        action: what one action is.
        energy_j: energy of one action.
        static_w: power of one instance all the time; 0 by default, since none is known.
        area_m2: area of one instance.
        latency_s: time of one action. The cell's is the pulse that its energy is for; the DAC's, the charge-to-pulse
            circuit's and the adder's are the least that writing, reset and a level of the digital sum take; the
            driver's comes with every segment of a line beyond the first. Other parts have none that counts
            (`TIMED`), and are refused with one.
        node_m: the technology node that the figures are for.
        supply_v: the supply voltage that they are for.
        scaling: how they carry over to another node or supply. 'digital': capacitance and delay with the node,
            area with its square, energy with capacitance x supply squared, static power with node x supply.
            'none': they do not.
        kind: how the figures are known: published; from a library of such parts; from a circuit simulation; fitted
            to published totals; or assumed.
        source: where they come from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    action: str = Field(min_length=1)
    energy_j: float = Field(ge=0)
    static_w: float = Field(default=0.0, ge=0)
    area_m2: float = Field(default=0.0, ge=0)
    latency_s: float = Field(default=0.0, ge=0)
    node_m: float = Field(default=28e-9, gt=0)
    supply_v: float = Field(default=0.9, gt=0)
    scaling: Literal["digital", "none"] = "none"
    kind: Literal["published", "library", "circuit", "fitted", "assumption"]
    source: str = Field(min_length=1)

    _read_units = field_validator("*", mode="before")(in_si)

    def at(self, node_m: float, supply_v: float, name: str) -> Self:
        """This part at another node and supply, by its own rule (classical scaling of digital circuits).

        Raises:
            InputError: it has no rule, and the node or supply is another.
        """
        if (node_m, supply_v) == (self.node_m, self.supply_v):
            return self
        if self.scaling == "none":
            raise InputError(
                f"component '{name}' is known at {self.node_m * 1e9:g} nm and {self.supply_v:g} V and has no scaling "
                f"rule to {node_m * 1e9:g} nm and {supply_v:g} V; give its figures there."
            )
        size, volts = node_m / self.node_m, supply_v / self.supply_v
        return self.model_copy(
            update={
                "energy_j": self.energy_j * size * volts**2,
                "static_w": self.static_w * size * volts,
                "area_m2": self.area_m2 * size**2,
                "latency_s": self.latency_s * size,
                "node_m": node_m,
                "supply_v": supply_v,
            }
        )
