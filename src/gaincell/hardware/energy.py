"""Counts times figures: the energy of every head and layer, and the area of a pair of arrays."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gaincell.cell.law import REFERENCE_CHARGE, REFERENCE_VOLTAGE_V
from gaincell.cell.polarity import strongest_v
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.action_counts import CONVERSION, Count, Drive, head_actions, option_actions, writes
from gaincell.hardware.components import Component, Components
from gaincell.hardware.geometry import Geometry
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.workload import Layer

if TYPE_CHECKING:
    from gaincell.hardware.activity import Activity

#: Longest pulse that a cell file's energies are for.
CHARACTERISED_PULSE_S = 15e-9

#: Energy or area by part of the sum, and in it by component.
Parts = dict[str, dict[str, float]]


def components(config: GainCellConfig, parameters: HardwareParameters) -> Components:
    """The parts at the design's node and supply, with the pulse and the cell of the design point.

    A component that the parameters set is taken as it is. Of the others a cell file with energies (`gaincell
    characterize`) brings its own; see `drawn_over_law` for what it draws at other voltages. A cell whose law is in
    coulomb per second draws its own current: supply x f(+0.45 V) x T_max. Of another, only the law's shape is known,
    and the default stands for it. With cells of one sign f(+0.45 V) is a value's, such as what both cells of a pair
    differ by, and cells act as often as they draw that much.

    Raises:
        InputError: a part has no rule that brings it to the node or supply, the cell's pulse has no width, or the
            cell's energies are of another supply.
    """
    parts, given = parameters.parts, parameters.components.model_fields_set
    cell, charge = parts.cell, None if "cell" in given else config.cell.coulomb_per_second
    own = config.cell.circuit.energy if config.cell.circuit is not None else None
    update: dict[str, Component] = {}
    if own is not None:
        _check_supply(config, parameters)
        for name in {"charge_to_pulse", "signed_charge_to_pulse"} - given:
            update[name] = getattr(parts, name).model_copy(update={"energy_j": own.conversion_j})
    if own is not None and "cell" not in given:
        energy_j = _read_j(config, own.read_full_j) * config.pulse_max_s / CHARACTERISED_PULSE_S
        if config.cell.polarity != "push_pull":  # of one cell, which draws more than a value adds to its line
            one, value = config.cell.model_cell_law, config.cell.model_law(REFERENCE_VOLTAGE_V)
            energy_j *= abs(value / one(strongest_v(one, config.cell.polarity)))
    elif charge is not None:
        energy_j = parameters.supply_v * charge * REFERENCE_CHARGE * config.pulse_max_s
    elif cell.latency_s == 0:
        raise InputError("components: 'cell' has latency_s 0; give the width of the pulse that its energy is for.")
    else:
        energy_j = cell.energy_j * config.pulse_max_s / cell.latency_s
    update["cell"] = cell.model_copy(update={"energy_j": energy_j})
    return parts.model_copy(update=update)


def drawn_over_law(config: GainCellConfig, parameters: HardwareParameters, shares: Sequence[float]) -> float:
    """What a push-pull cell's reads take from its supply, over what they would in proportion to its charge law.

    1 where the cell file does not say what each stored voltage takes, or the parameters set the cell themselves. Pulses
    are assumed to meet all levels alike, freshly written.

    Args:
        config: the design point.
        parameters: how the hardware is built.
        shares: of all codes, of the values that are read.
    """
    own = config.cell.circuit and config.cell.circuit.energy and config.cell.circuit.energy.reads
    given = "cell" in parameters.components.model_fields_set
    if not own or given or config.cell.polarity != "push_pull":
        return 1.0
    top = len(shares) - 1
    levels = config.stored_voltages or [config.stored_max_v * m / top - config.zero_v for m in range(top + 1)]
    law, highest = config.cell.law, own.written_v[-1]
    drawn = sum(share * own.at(y) for share, y in zip(shares, levels, strict=True)) / own.at(highest)
    by_law = sum(share * abs(law(y)) for share, y in zip(shares, levels, strict=True))
    return drawn * abs(law(highest)) / by_law if by_law else 1.0


def _check_supply(config: GainCellConfig, parameters: HardwareParameters) -> None:
    """Refuse a cell's energies at another supply than theirs."""
    found = config.cell.conditions
    if found is not None and not math.isclose(parameters.supply_v, found.vdd_v, rel_tol=1e-9):
        raise InputError(
            f"hardware parameters: supply_v is {parameters.supply_v:g}, but the energies of cell '{config.cell.name}' "
            f"are of a supply of {found.vdd_v:g} V; set supply_v to that, or characterise the cell with --vdd."
        )


def _read_j(config: GainCellConfig, read_full_j: float) -> float:
    """Energy of a full pulse at +0.45 V above the zero level, of that at the highest voltage that was characterised."""
    found, law = config.cell.conditions, config.cell.law
    if found is None:
        return read_full_j
    at = strongest_v(law, config.cell.polarity)
    top = found.vdd_v - found.zero_v if at > 0 else -found.zero_v
    return read_full_j if math.isclose(top, at) else read_full_j * law(at) / law(top)


def check_activity(activity: "Activity", layers: Sequence[Layer], config: GainCellConfig) -> None:
    """Refuse what was measured on something else than these layers, all of which attend, at this design point.

    Raises:
        InputError: the activity is of another number of layers, heads or stored levels, or was measured with heads
            digital that are the arrays' here, of which it knows nothing.
    """
    heads = sorted({layer.heads for layer in layers})
    if activity.phi.shape != (1, 1) and ([activity.phi.shape[1]] != heads or activity.phi.shape[0] != len(layers)):
        raise InputError(
            f"activity: measured on {activity.phi.shape[0]} layers of {activity.phi.shape[1]} heads, but the model has "
            f"{len(layers)} of {' and '.join(map(str, heads))}; measure it on this model."
        )
    levels = config.stored_levels
    if levels is not None and activity.key_codes.shape[-1] != levels:
        raise InputError(
            f"activity: measured with {activity.key_codes.shape[-1]} stored levels, but '{config.name}' has {levels}; "
            "measure it at this design point."
        )
    for number, head in activity.digital:
        alike = activity.phi.shape == (1, 1)  # which stands for every head of every layer
        if alike or head not in config.digital_heads(number, layers[number].heads):
            raise InputError(
                f"activity: measured with head {head} of layer {number} digital, which attends in arrays at "
                f"'{config.name}'; measure it with at most those heads digital that the design point keeps so."
            )


def layer_energy(
    number: int,
    heads: int,
    at: Geometry,
    config: GainCellConfig,
    parameters: HardwareParameters,
    parts: Components,
    activity: "Activity",
    analog: Sequence[int] | None = None,
) -> Parts:
    """Energy of one token in a layer, by part and component, from what each of its heads does.

    Args:
        number: which of the layers that attend, as the activity counts them.
        heads: its query heads.
        analog: which of them attend in arrays; None: all.
        at: how it lies on arrays.
        config: the design point, with the layer's own window.
        parameters: how the hardware is built.
        parts: what its parts take.
        activity: what its arrays do; checked by `check_activity`.
    """

    stored = activity.key_codes, activity.value_codes

    def head(layer: int, index: int) -> list[Count]:
        drive = Drive(*(float(getattr(activity, name)[layer, index]) for name in Drive._fields))
        keys, values = (codes[layer, index * codes.shape[1] // activity.phi.shape[1]].tolist() for codes in stored)
        drive = drive._replace(
            key_charge=drive.key_charge * drawn_over_law(config, parameters, keys),
            value_charge=drive.value_charge * drawn_over_law(config, parameters, values),
        )
        return head_actions(at, drive, config, parameters) + option_actions(at, heads, config, parameters)

    some = range(heads) if analog is None else analog
    if activity.phi.shape == (1, 1):
        found = summed(head(0, 0), parts, "energy_j", len(some))
    else:
        found = summed([count for index in some for count in head(number, index)], parts, "energy_j")
    # Writes are shared out over the queries of a pair, of which some pairs have fewer than the most.
    unshared = at.pairs - len(some) / at.turns
    if unshared <= 1e-9:
        return found
    return added([found, summed(writes(CONVERSION, unshared, at, config, parameters), parts, "energy_j")])


def summed(
    counts: Iterable[Count],
    parts: Components,
    figure: str,
    copies: float = 1.0,
    ratios: Mapping[str, float] | None = None,
) -> Parts:
    """Counts times a figure of their components ('energy_j', 'area_m2', 'static_w'), by part and component.

    Figures of components that `ratios` names are that many times as large.
    """
    result: Parts = {}
    for part, component, times in counts:
        of_part = result.setdefault(part, {})
        value = (ratios or {}).get(component, 1.0) * getattr(getattr(parts, component), figure)
        of_part[component] = of_part.get(component, 0.0) + copies * times * value
    return result


def total(parts: Parts) -> float:
    """All of it."""
    return sum(value for of_part in parts.values() for value in of_part.values())


def added(all_parts: Iterable[Parts]) -> Parts:
    """Part by part, component by component."""
    result: Parts = {}
    for parts in all_parts:
        for part, of_part in parts.items():
            into = result.setdefault(part, {})
            for component, value in of_part.items():
                into[component] = into.get(component, 0.0) + value
    return result
