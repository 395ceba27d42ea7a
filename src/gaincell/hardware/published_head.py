"""The paper's figures for one head of window 1024 and head_dim 64. Only ever shown beside ours, never computed with."""

from typing import NamedTuple

HEAD_DIM = 64


class Published(NamedTuple):
    """A figure of Leroux et al. 2025, in a unit for people, and how ours comes about.

    'fitted': ours is made to agree; 'predicted': it is not; 'inferred': a parameter of ours is derived from it;
    'counted': a published part times how many there are.
    """

    value: float
    unit: str
    basis: str


LATENCY = Published(65.0, "ns", "fitted")
HEAD_ENERGY = Published(6.15, "nJ", "fitted for 70 %")
LAYER_ENERGY = Published(73.8, "nJ", "fitted for 70 %")
HEAD_AREA = Published(0.5, "mm2", "fitted")
CELLS_AREA = Published(0.131, "mm2", "counted")
OXIDE_AREA = Published(15.7e-3, "mm2", "inferred")
STACKED_AREA = Published(36.7e-3, "mm2", "inferred")

#: What of a design point the figures depend on.
FIELDS = (
    *("window", "subtile_columns", "subtile_rows", "query_levels", "stored_levels", "output_levels", "cell"),
    *("stored_max_v", "zero_v"),
    *("pulse_max_s", "layer_latency_s", "token_period_s", "normaliser", "query_sign", "storage", "equalisation"),
    *("score_preset", "sinks"),
)

#: Energies of one head by part, in the names of `actions`.
PARTS = {
    "first array and charge-to-pulse": Published(1.12, "nJ", "predicted"),
    "second array": Published(0.7, "nJ", "predicted"),
    "DACs and lines": Published(0.33, "nJ", "fitted"),
    "digital control and routing": Published(4.0, "nJ", "fitted"),
}
