"""Which implementation computes the two products: decided by the config, the device, the dtype and the shape."""

import warnings
from functools import lru_cache

from torch import Tensor

from gaincell.config import GainCellConfig
from gaincell.ops.blocked import blocked_products
from gaincell.ops.convert import query_pulse, stored_voltage
from gaincell.ops.naive import naive_products
from gaincell.ops.triton import unsupported


def path_of(q: Tensor, config: GainCellConfig) -> str:
    """ "naive", "blocked" or "triton" for operands like q (B, Hq, T, D): what `config.path` asks for if it can be had.

    "auto" is "triton" on a GPU and "blocked" elsewhere. What the kernels cannot take goes to "blocked", with a warning
    the first time.
    """
    path = config.path
    if path == "auto":
        path = "triton" if q.device.type == "cuda" else "blocked"
    if path == "triton":
        reason = unsupported(q, config)
        if reason is not None:
            _warn_once(f"gaincell computes attention without its GPU kernels: {reason}.")
            return "blocked"
    return path


@lru_cache(maxsize=256)
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)


def products(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: GainCellConfig,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Conversion and both products for rows without pads, on the path that fits.

    Args:
        q: (B, Hq, T, D) pulse widths after scaling.
        k, v: (B, Hkv, T, D) voltages in volt after scaling.
        config: the design point.
        preset: (B, Hq, T) offset on S / S_sat, or None.
        absent: (B, Hkv, T), true at tokens that are not stored, or None.

    Returns:
        (B, Hq, T, D) sum of the sub-tiles' read-outs, and (B, Hq, T) Z where the design point has a normaliser,
        both in float32 or wider.
    """
    path = path_of(q, config)
    if path == "blocked":
        return blocked_products(q, k, v, config, preset, absent)
    converted = query_pulse(q, config), stored_voltage(k, config), stored_voltage(v, config)
    return _converted(path, *converted, config, preset, absent)


def stored_products(
    pulse: Tensor,
    yk: Tensor,
    yv: Tensor,
    config: GainCellConfig,
    preset: Tensor | None = None,
    absent: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`products` of operands that are converted already: pulse widths, and stored voltages minus zero.

    `start` (B,) is how many tokens each row has written before these, in whole sub-tiles; None for none.
    """
    return _converted(path_of(pulse, config), pulse, yk, yv, config, preset, absent, start)


def _converted(
    path: str,
    pulse: Tensor,
    yk: Tensor,
    yv: Tensor,
    config: GainCellConfig,
    preset: Tensor | None,
    absent: Tensor | None,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    if path == "naive":
        return naive_products(pulse, yk, yv, config, preset, absent, start=start)[:2]
    if path == "triton":
        from gaincell.ops.triton.products import triton_products

        return triton_products(pulse, yk, yv, config, preset, absent)
    return blocked_products(pulse, yk, yv, config, preset, absent, converted=True, start=start)
