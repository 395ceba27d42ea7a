"""Which implementation computes the arrays: the first that serves all that is needed, or the one that was asked for."""

import warnings
from functools import lru_cache

from torch import Tensor

from gaincell.errors import InputError
from gaincell.ops import blocked, naive, stepwise, triton
from gaincell.ops.model import ArrayModel
from gaincell.ops.operands import Operands

_SERVES = {
    "triton": triton.SERVES,
    "blocked": blocked.SERVES,
    "naive": naive.SERVES,
    "stepwise": stepwise.SERVES,  # which 'auto' takes where nothing else will do
}


def check_path(model: ArrayModel, learning: bool = False) -> None:
    """Raise InputError where the design point asks for a path by name that lacks what it needs, or gradients."""
    path, needs = model.config.path, model.needs.union({"gradients"} if learning else ())
    if path != "auto" and (missing := needs - _SERVES[path]):
        raise InputError(_refusal(path, _missing(missing)))
    if learning and model.aged:
        raise InputError(_NOTHING_LEARNS)


def path_of(q: Tensor, model: ArrayModel, learning: bool = False) -> str:
    """ "naive", "blocked", "triton" or "stepwise": which path computes, for queries like q (..., T, D).

    The one that the design point asks for by name; for "auto", on a GPU "triton" if it serves all that is needed, else
    with a warning the first time, and on any other device at once, "blocked", or "stepwise" where that does not serve.

    Args:
        q: the queries.
        model: the arrays.
        learning: whether gradients are asked for.

    Raises:
        InputError: a path that was asked for by name cannot compute this, or nothing can learn on it.
    """
    asked = model.config.path
    if learning and model.aged:
        raise InputError(_NOTHING_LEARNS)
    if asked == "auto" and model.needs - _SERVES["blocked"]:
        return "stepwise"
    if asked == "auto" and q.device.type != "cuda":
        return "blocked"
    path = "triton" if asked == "auto" else asked
    reason = _lacks(path, q, model, learning)
    if reason is None:
        return path
    if asked != "auto":
        raise InputError(_refusal(path, reason))
    _warn_once(f"gaincell computes attention without its GPU kernels: {reason}.")
    return "blocked"


def _lacks(path: str, q: Tensor, model: ArrayModel, learning: bool) -> str | None:
    """One phrase saying what a path lacks, or None where it serves all that is needed."""
    if missing := model.needs.union({"gradients"} if learning else ()) - _SERVES[path]:
        return _missing(missing)
    return triton.unsupported(q, model) if path == "triton" else None


_NOTHING_LEARNS = (
    "nothing learns where cells leak each at its own rate, or where what writes are off by decays by a table or meets "
    "read disturb: no path has gradients of it; learn with retention_seed null and writes 'ideal', and set them to "
    "measure what was learned."
)


def _missing(needs: frozenset[str]) -> str:
    return f"it has no {', '.join(sorted(needs))}"


def _refusal(path: str, reason: str) -> str:
    return f"path '{path}' cannot compute this attention: {reason}; set path to 'auto'."


@lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=5)


def attend(operands: Operands, model: ArrayModel) -> Tensor:
    """What leaves the arrays for rows without pads, on the path that fits: (B, Hq, T, D), in float32 or wider.

    Raises:
        InputError: as `path_of`.
    """
    path = path_of(operands.q, model, operands.learning)
    if path == "stepwise":
        return model.output(*stepwise.stepwise_products(operands, model))
    if path == "naive":
        out, z, _ = naive.naive_products(operands, model)
    elif path == "triton":
        from gaincell.ops.triton.products import triton_products

        out, z = triton_products(operands, model)
    else:
        out, z = blocked.blocked_products(operands, model)
    return model.output(out, z)
