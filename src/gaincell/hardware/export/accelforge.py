"""A design point as input of AccelForge: architecture, workload and mapping of one layer, in a YAML file.

AccelForge (of the Accelergy and Timeloop family) multiplies how often data passes a component by the energy of an
action. Its Tolls charge what passes them, so every part is charged on the tensor whose values it handles; where a part
acts more or less often than one of those passes, or in pulses that are not full, `energy_scale` says so.
"""

from pathlib import Path
from textwrap import fill
from typing import Any

from gaincell.aside import written_aside
from gaincell.errors import InputError
from gaincell.hardware.actions import FIRST, SECOND, stored_bits
from gaincell.hardware.estimation import Estimate
from gaincell.hardware.export.figures import by_component, over, parts_in_use

_ABOUT = """\
Attention of one layer of {layers} in analog gain-cell memory at the design point {name!r}, for one token whose window \
of {window} is full; activity: {activity}. Written by gaincell, in the format of AccelForge 1.0.467. Joule, seconds, \
square metres. Area is that of one layer; energy and latency are of all of them (n_instances). p: pairs of arrays; \
g: queries in turn on a pair; t: sub-tiles; c: columns of a sub-tile; d, e: rows of keys and of values. Keys and \
values are in their arrays; what writing those of one token takes is charged with its query.
"""

#: The tensor whose values a part handles, where it is not the query.
_CHARGED_ON = {
    "charge_to_pulse": "S",
    "preset": "S",
    "signed_charge_to_pulse": "O",
    "counter": "O",
    "adder": "O",
    "control": "O",
}


class _Tagged(dict[str, Any]):
    """A mapping with a YAML tag."""

    def __init__(self, tag: str, **fields: Any) -> None:
        super().__init__(fields)
        self.tag = tag


def write_accelforge(estimate: Estimate, path: Path) -> None:
    """Write one layer as an architecture with its workload and mapping; energy and latency are of all layers.

    `accelforge.Spec.from_yaml(path).evaluate_mapping()` gives the estimate's energy and latency, and
    `calculate_component_costs()` its area over its layers.

    Raises:
        InputError: layers that differ.
    """
    import yaml

    if len(estimate.kinds) > 1:
        raise InputError(
            "--export accelforge writes one layer for all of them, but this model's layers differ (window, heads, "
            "head_dim); export a design point whose window all of them have, or use hwcomponents."
        )

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    Dumper.add_representer(_Tagged, lambda dumper, node: dumper.represent_mapping(f"!{node.tag}", dict(node)))
    tolls = _tolls(estimate)
    spec = {"arch": {"nodes": _arch(estimate, tolls)}, "workload": _workload(estimate), "mapping": _mapping(tolls)}
    about = _ABOUT.format(
        layers=len(estimate.workload.attending),
        name=estimate.config.name,
        window=estimate.geometry.window,
        activity=estimate.activity,
    )
    notes = [about, *(f"{n}: {p.action}. Known by: {p.kind}; {p.source}." for n, p in parts_in_use(estimate).items())]
    head = "".join(f"# {line}\n" for note in notes for line in fill(note, 110).splitlines())
    text = head + yaml.dump(spec, Dumper=Dumper, sort_keys=False, width=120)
    with written_aside(path) as aside:
        aside.write_text(text, "utf-8")


def _ranks(estimate: Estimate) -> dict[str, int]:
    at = estimate.geometry
    return {
        "P": at.pairs,
        "G": at.turns,
        "T": at.tiles,
        "C": at.window // at.tiles,
        "D": at.key_dim,
        "E": at.value_dim,
    }


def _node(tag: str, name: str, action: str, tensors: str | None = None, **fields: Any) -> _Tagged:
    """A component of one action (a Memory also writes); whatever `fields` do not say is free."""
    free = {"energy": 0, "energy_scale": 1, "throughput": float("inf")}
    act = {"name": action} | {figure: fields.pop(figure, default) for figure, default in free.items()}
    acts = [act, act | {"name": "write"}] if tag == "Memory" else [act]
    kept = {} if tensors is None else {"tensors": {"keep": tensors}}
    return _Tagged(tag, name=name, **{"area": 0, "leak_power": 0, **fields}, **kept, actions=acts)


def _tolls(estimate: Estimate) -> dict[str, list[_Tagged]]:
    """What is charged on the query, the pulses between the products, and the output."""
    at, layers = estimate.geometry, len(estimate.workload.attending)
    parts, energy, area = parts_in_use(estimate), by_component(estimate.energy_components), by_component(estimate.area)
    # Passes of one query, and copies of the Toll in a layer: those of O stand in every sub-tile.
    passes = {"Q": (at.key_dim, 1), "S": (at.window, at.pairs), "O": (at.tiles * at.value_dim, at.pairs * at.tiles)}
    tolls: dict[str, list[_Tagged]] = {"Q": [], "S": [], "O": []}
    for name in sorted((energy | area).keys() - {"cell"}):
        tensor = _CHARGED_ON.get(name, "Q")
        count, copies = passes[tensor]
        one_pass = energy.get(name, 0.0) / (layers * at.pairs * at.turns * count)
        figures: dict[str, Any] = {"energy": one_pass}
        if name in parts:
            part = parts[name]
            figures = {"energy": part.energy_j, "energy_scale": over(one_pass, part.energy_j)}
            if standing := round(over(area.get(name, 0.0), part.area_m2) / (layers * copies), 6):
                figures |= {"area": part.area_m2, "n_parallel_instances": standing}
        direction = "down" if tensor == "Q" else "up"
        node = _node("Toll", name, "read", tensor, direction=direction, values_per_action={"All": 1}, **figures)
        tolls[tensor].append(node)
    return tolls


def _spatial(name: str, rank: str, fanout: int, reuse: str) -> dict[str, Any]:
    bounds = [{"expression": f"~{rank}", "operator": "==", "value": 1}]
    return {"name": name, "fanout": fanout, "may_reuse": reuse, "min_usage": 1, "loop_bounds": bounds}


def _array(
    estimate: Estimate, kind: str, tensor: str, part: str, rows: int, lines: int, seconds: float
) -> list[_Tagged]:
    """One array's cells, which store a tensor and take a pulse per product."""
    at, layers, cell = estimate.geometry, len(estimate.workload.attending), parts_in_use(estimate)["cell"]
    cells = layers * at.pairs * at.window * rows
    area = estimate.area["cells"]["cell"] * lines / (at.key_rows + at.value_columns) / cells
    pulses = over(estimate.energy_components[part]["cell"] / (cells * at.turns), cell.energy_j)
    bits = stored_bits(at, estimate.config, estimate.parameters) // (at.key_dim + at.value_dim)
    return [
        _node("Memory", f"{kind}_cell", "read", tensor, area=area, size=bits),
        _node(
            "Compute",
            f"{kind}_product",
            "compute",
            enabled=f"bool({tensor})",
            energy=cell.energy_j,
            energy_scale=pulses,
            throughput=1 / seconds,
        ),
    ]


def _arch(estimate: Estimate, tolls: dict[str, list[_Tagged]]) -> list[_Tagged]:
    at, phases, size = estimate.geometry, estimate.timeline, _ranks(estimate)
    # One query's share of the latency, split where the first product's charge begins to discharge.
    query_s = estimate.latency_s / (len(estimate.workload.attending) * at.turns)
    first_s = query_s * next(p.start_s for p in phases.phases if p.name == "first discharge") / phases.latency_s
    tile = _spatial("tile", "t", size["T"], "Q")
    column = _spatial("column", "c", size["C"], "Q | O")
    values = [
        _Tagged("Container", name="value_tiles", spatial=[tile | {"may_reuse": "Nothing"}]),
        *tolls["O"],
        _Tagged("Container", name="value_array", spatial=[column, _spatial("row", "e", size["E"], "S")]),
        *_array(estimate, "value", "V", SECOND, at.value_dim, at.value_columns, query_s - first_s),
    ]
    return [
        _node("Memory", "digital", "read", "Q | K | V | O", size=float("inf")),
        *tolls["Q"],
        _Tagged("Container", name="pairs", spatial=[_spatial("pair", "p", size["P"], "Nothing")]),
        _node("Memory", "pulses", "read", "S", size=float("inf")),
        _Tagged("Fork", nodes=values),
        *tolls["S"],
        _Tagged("Container", name="key_array", spatial=[tile, column, _spatial("row", "d", size["D"], "S")]),
        *_array(estimate, "key", "K", FIRST, at.key_dim, at.key_rows, first_s),
    ]


def _workload(estimate: Estimate) -> dict[str, Any]:
    def einsum(name: str, **tensors: str) -> dict[str, Any]:
        accesses: list[dict[str, Any]] = [{"name": t, "projection": list(ranks)} for t, ranks in tensors.items()]
        accesses[-1]["output"] = True
        return {"name": name, "tensor_accesses": accesses}

    at = estimate.geometry
    return {
        "rank_sizes": _ranks(estimate),
        "bits_per_value": {"All": stored_bits(at, estimate.config, estimate.parameters) // (at.key_dim + at.value_dim)},
        "persistent_tensors": "K | V",
        "n_instances": len(estimate.workload.attending),
        "einsums": [einsum("scores", Q="pgd", K="ptcd", S="pgtc"), einsum("values", S="pgtc", V="ptce", O="pge")],
    }


def _mapping(tolls: dict[str, list[_Tagged]]) -> dict[str, Any]:
    """The only one there is: arrays hold keys and values, and all their cells act at once."""

    def holds(component: str, *tensors: str, tag: str = "Storage") -> _Tagged:
        return _Tagged(tag, tensors=list(tensors), component=component)

    def passes(tensor: str) -> list[_Tagged]:
        return [holds(node["name"], tensor, tag="Toll") for node in tolls[tensor]]

    def across(component: str, name: str, rank: str) -> _Tagged:
        return _Tagged("Spatial", rank_variable=rank, name=name, component=component, tile_shape=1)

    def nest(einsum: str, *nodes: _Tagged, product: str) -> _Tagged:
        return _Tagged("Nested", nodes=[*nodes, _Tagged("Compute", einsum=einsum, component=product)])

    scores = nest(
        "scores",
        *passes("S"),
        across("key_array", "tile", "t"),
        across("key_array", "column", "c"),
        across("key_array", "row", "d"),
        holds("key_cell", "K"),
        product="key_product",
    )
    values = nest(
        "values",
        across("value_tiles", "tile", "t"),
        *passes("O"),
        across("value_array", "column", "c"),
        across("value_array", "row", "e"),
        holds("value_cell", "V"),
        product="value_product",
    )
    return {
        "nodes": [
            holds("digital", "Q", "K", "V", "O"),
            *passes("Q"),
            across("pairs", "pair", "p"),
            _Tagged("Temporal", rank_variable="g", tile_shape=1),
            holds("pulses", "S"),
            _Tagged("Sequential", nodes=[scores, values]),
        ]
    }
