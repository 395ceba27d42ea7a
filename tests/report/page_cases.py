"""What a made-up page shows of heads and maps."""

import base64

import numpy as np

from gaincell import GainCellConfig
from gaincell.hardware import Activity
from gaincell.report.results import Heads, Map

NASTY = "</script><script>alert('x')</script> & \"quotes\""
LAYERS, HEADS = 3, 4
TOKENS = ["The", " crew", " saw", " <b>", " land", "."]
SHAPE = {
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_size": 256,
}


def weight(model: int, layer: int, head: int, query: int, key: int) -> int:
    """A byte that no other cell of any map near it has."""
    return (7 + 41 * model + 11 * layer + 29 * head + 5 * query + 3 * key) % 200 + 20


def made_up_map(model: int) -> Map:
    size = len(TOKENS)
    found = [
        weight(model, layer, head, query, key)
        for layer in range(LAYERS)
        for head in range(HEADS)
        for query in range(size)
        for key in range(query + 1)
    ]
    pulses = [] if model == 0 else [float(i % 7) for i in range(LAYERS * HEADS * size)]
    return {"weights": base64.b64encode(bytes(found)).decode("ascii"), "pulses": pulses}


def made_up_heads(seed: int) -> Heads:
    rng = np.random.default_rng(seed)
    reference = Activity.reference(GainCellConfig.named("extended"))
    arrays = {
        name: np.broadcast_to(array, (LAYERS, HEADS)) * 1.0
        for name, array in reference.arrays().items()
        if array.ndim == 2
    }
    arrays["phi_active"][1, 2] = arrays["phi"][1, 2] = 0.0  # a dead head
    arrays["phi_full"][2, 0] = 0.95  # and a saturated one
    codes = np.full((LAYERS, 2, 8), 1 / 8)
    activity = Activity(**arrays, key_codes=codes, value_codes=codes, tokens=64, text="64 tokens")
    errors = {
        "heads": rng.uniform(0.1, 2.0, (LAYERS, HEADS)).tolist(),
        "power": rng.uniform(0.1, 1.0, (LAYERS, HEADS)).tolist(),
        "blocks": rng.uniform(0.1, 1.0, LAYERS).tolist(),
    }
    return {"activity": activity.to_dict(), "errors": errors}
