"""Against what the authors' own code computed for one 64 x 64 sub-tile [released data of Leroux et al. 2025]."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ops_cases import MEASURED
from torch import Tensor

import gaincell
from gaincell import GainCellConfig
from gaincell.ops import Ring, attention_map, naive_attention

DATA = Path(__file__).parents[3] / "shared" / "reference" / "subtile_64x64_cubic_unquantised.npz"

#: Their run took bfloat16 in places: agreement to 0.6 % of the range.
TOLERANCE = 0.006


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    if not DATA.is_file():
        pytest.skip("the authors' data is not here")
    with np.load(DATA) as data:
        return {name: torch.from_numpy(data[name]) for name in ("Q", "K", "V", "S", "phi_S", "output")}


@pytest.fixture(scope="module")
def config() -> GainCellConfig:
    return GainCellConfig.named("leroux2025").replace(
        query_levels=None, stored_levels=None, output_levels=None, leak_per_token=0.0
    )


def worst(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a fraction of the range."""
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


def test_scores_pulses_and_outputs_are_the_authors(reference: dict[str, Tensor], config: GainCellConfig) -> None:
    q, k, v = (reference[name][:, None].double() for name in ("Q", "K", "V"))
    causal = torch.ones(64, 64, dtype=torch.bool).tril()
    # A preset of one half and twice the saturation show S between -S_sat and S_sat, where phi alone clips at 0.
    wide = config.replace(score_saturation=4 * config.score_saturation)
    scores = (attention_map(q, k, wide, preset=torch.full((10, 1, 64), 0.5)) - 0.5) * wide.score_saturation
    naive, phi = naive_attention(q, k, v, config)
    ring = Ring(10, 1, 64, config)
    differences = {
        "S": worst(scores[:, 0, causal], reference["S"][:, causal]),
        "phi": worst(phi[:, 0], reference["phi_S"]),
        "phi of attention_map": worst(attention_map(q, k, config)[:, 0], reference["phi_S"]),
        "output, token by token": worst(naive[:, 0], reference["output"]),
        "output, blocked": worst(gaincell.attention(q, k, v, config)[:, 0], reference["output"]),
        "output, ring": worst(ring.extend(q, k, v)[:, 0], reference["output"]),
    }
    for name, difference in differences.items():
        MEASURED[f"authors' data: {name} within"] = f"{difference:.2%} of its range"
    assert max(differences.values()) <= TOLERANCE, differences
