"""Does hwcomponents read what `gaincell cost --export` wrote? Run by `make test-export`, in an environment of its own.

    python check_export.py

The exported package is installed, or on the path.
"""

import math
from importlib.metadata import version


def check() -> None:
    """hwcomponents finds every part by itself, and what it says of them makes the energy of a token."""
    import hwcomponents
    from hwcomponents_gaincell import FIGURES

    named = {f"gaincell_{name}": part for name, part in FIGURES["components"].items()}
    assert {model.component_name for model in hwcomponents.get_models(name_must_include="gaincell")} == named.keys()
    energy_j = sum(FIGURES["beside_j"].values())
    for name, part in named.items():
        for action in ("read", "compute"):
            cost = hwcomponents.get_action_cost(name, {}, action, {})
            assert (cost.energy, cost.latency) == (part["energy_j"], part["latency_s"]), name
        assert hwcomponents.get_area(name, {}) == part["area_m2"], name
        assert hwcomponents.get_leak_power(name, {}) == part["static_w"], name
        energy_j += cost.energy * part["actions_per_token"]
    assert math.isclose(energy_j, FIGURES["energy_j"], rel_tol=1e-12)
    print(f"hwcomponents {version('hwcomponents')}: {len(named)} components, {energy_j * 1e9:.4g} nJ a token")


if __name__ == "__main__":
    check()
