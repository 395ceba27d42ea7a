"""Every figure of every part counts, and none of them the wrong way."""

import pytest

from gaincell import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import GPT2, Components, HardwareParameters, Workload, estimate
from gaincell.hardware.components import Component
from gaincell.hardware.components.catalogue import TIMED
from gaincell.hardware.digital import digital_attention

#: Designs that between them use every part: options of `extended`, long lines, refreshing, heads that take turns.
PUBLISHED, EXTENDED = (GainCellConfig.named(name) for name in ("leroux2025", "extended"))
WIDE = EXTENDED.replace(window=131_072)
SHARED = Workload.uniform(layers=32, heads=32, kv_heads=8, head_dim=128)


def figures(components: Components) -> list[float]:
    """Latency, energy, area and what else is told, of several models at several design points."""
    found = []
    turns = HardwareParameters(components=components, kv_sharing="in_turn", refresh="rewrite", chip_area_m2=1e-5)
    plain = HardwareParameters(components=components)
    for workload, point, parameters in (
        (GPT2, PUBLISHED, plain),
        (GPT2, EXTENDED, plain),
        (SHARED, WIDE, turns),
        (SHARED, PUBLISHED.replace(query_sign="offset_binary"), plain),
    ):
        cost = estimate(workload, point, parameters)
        found += [cost.latency_s, cost.energy_j, cost.area_m2]
        for memory in ("sram", "dram"):
            other = digital_attention(workload, point, parameters, memory)
            found += [other.latency_s, other.energy_j, other.area_m2]
    return found


def changed(name: str, figure: str, factor: float) -> list[float]:
    part: Component = getattr(Components(), name)
    value = getattr(part, figure) * factor
    return figures(Components().model_copy(update={name: part.model_copy(update={figure: value})}))


#: The cell's is the pulse that its energy is for.
TAKEN = [
    (name, figure)
    for name in sorted(Components.model_fields)
    for figure in ("energy_j", "static_w", "area_m2", "latency_s")
    if getattr(getattr(Components(), name), figure) and (name, figure) != ("cell", "latency_s")
]


@pytest.mark.parametrize(("name", "figure"), TAKEN)
def test_a_part_that_takes_more_makes_nothing_take_less(name: str, figure: str) -> None:
    plain, more, less = (changed(name, figure, factor) for factor in (1.0, 3.0, 0.3))
    assert all(x >= y * (1 - 1e-12) for x, y in zip(more, plain, strict=True))
    assert all(x <= y * (1 + 1e-12) for x, y in zip(less, plain, strict=True))
    assert more != plain


@pytest.mark.parametrize("name", sorted(Components.model_fields))
def test_a_time_that_nothing_waits_for_is_refused(name: str) -> None:
    part = getattr(Components(), name).model_copy(update={"latency_s": 1e-8})
    if name in TIMED:
        assert HardwareParameters(components=Components(**{name: part}))
        return
    with pytest.raises(InputError, match=f"latency_s of '{name}' would change nothing"):
        HardwareParameters(components={name: part})
