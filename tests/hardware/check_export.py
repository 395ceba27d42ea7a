"""Do the other tools read what `gaincell cost --export` wrote? Run by `make test-export`, in their own environment.

    python check_export.py FOLDER

FOLDER has `accelforge.yaml`, whose package of hwcomponents is installed. AccelForge is asked where it is installed.
"""

import math
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def check_hwcomponents() -> dict[str, float]:
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
    return {name: FIGURES[name] for name in ("energy_j", "latency_s", "area_m2")}


def check_accelforge(path: Path, ours: dict[str, float]) -> None:
    """Its own count of actions gives the estimate back. It reckons in 32-bit floats, so to 1e-6."""
    import accelforge

    accelforge.set_n_parallel_jobs(1)
    spec = accelforge.Spec.from_yaml(path)
    found = spec.evaluate_mapping()
    area_m2 = spec.calculate_component_costs().arch.total_area * spec.workload.n_instances
    theirs = {"energy_j": float(found.energy()), "latency_s": float(found.latency()), "area_m2": float(area_m2)}
    for name, value in ours.items():
        assert math.isclose(theirs[name], value, rel_tol=1e-6), (name, theirs[name], value)
    print(
        f"accelforge {version('accelforge')}: {theirs['energy_j'] * 1e9:.4g} nJ and {theirs['latency_s'] * 1e9:.4g} ns "
        f"a token, {theirs['area_m2'] * 1e6:.4g} mm2"
    )


if __name__ == "__main__":
    figures = check_hwcomponents()
    if find_spec("accelforge") is None:
        print("accelforge: not installed, so not checked")
    else:
        check_accelforge(Path(sys.argv[1]) / "accelforge.yaml", figures)
