"""How old a token gets, what its cells have left by then, and what it takes to renew them."""

import math
from dataclasses import dataclass

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.lost import crossed, share_lost
from gaincell.hardware.parameters import HardwareParameters


@dataclass(frozen=True)
class RetentionBudget:
    """A token's life in its column.

    Attributes:
        token_period_s: time from one token to the next.
        age_ratio: age at which a token is overwritten (window x token period) over the cell's time constant, or over
            the age that stands for it where retention is a table.
        refreshes: how often it is written anew in that time.
        busy: share of the time that its arrays spend on rewriting.
        lost: share of its cells that are off by more than half a step when it is overwritten or due for a refresh;
            None where it is not known how cells differ, see `gaincell.hardware.lost.share_lost`.
    """

    token_period_s: float
    age_ratio: float
    refreshes: int
    busy: float
    lost: float | None = None


def time_constant_s(config: GainCellConfig, limit: float) -> float:
    """The cell's time constant, or where retention is a table what stands for it in comparing ages with `limit`.

    A token of an exponential cell of tau reaches `limit` at limit x tau, when its highest voltage above zero has lost
    1 - e^{-limit} of itself. By a table, or where a cell decays to elsewhere than zero, it does so when any of the
    voltages that are written has moved by as much, in volt: the worst one decides. A table that ends before is taken to
    hold no longer than it says.
    """
    retention = config.cell.retention
    if config.retention == "exponential" or retention.table is None:
        if not retention.ends_at_v:
            return retention.tau_s
        outermost = (-config.zero_v, config.stored_max_v - config.zero_v)
        furthest_v = max(abs(y - retention.ends_at_v) for y in outermost)
        lost = (1.0 - math.exp(-limit)) * max(map(abs, outermost)) / furthest_v
        return retention.tau_s if lost >= 1.0 else -math.log(1.0 - lost) * retention.tau_s / limit
    table = retention.table
    allowed_v = (1.0 - math.exp(-limit)) * max(abs(row[0]) for row in table.stored)
    reached = [crossed(table.time, [abs(y - row[0]) for y in row], allowed_v) for row in table.stored]
    return min(*reached, table.time[-1]) * retention.unit_s / limit


def retention_budget(
    config: GainCellConfig,
    parameters: HardwareParameters,
    latency_s: float,
    layer_latency_s: float,
    write_s: float,
    filled_anew: bool = False,
) -> RetentionBudget:
    """Check a window against retention.

    Arrays rewrite one column at a time, while other layers compute; where that is not enough time, the token period
    grows until it is.

    Args:
        config: the design point; its token_period_s, if it sets one, is the least there is.
        parameters: the limit, and whether to refresh.
        latency_s: attention of all layers, one token.
        layer_latency_s: that of one layer.
        write_s: writing one column.
        filled_anew: arrays are filled for every token, so that none gets older than one turn.

    Raises:
        InputError: the window outlives the cell and is not refreshed, or cannot be rewritten within the limit.
    """
    tau_s = time_constant_s(config, parameters.retention_limit)
    period_s = max(config.token_period_s or 0.0, latency_s)
    if config.refresh_tokens is not None:
        if filled_anew:
            raise InputError(
                "refresh_tokens writes tokens anew, but arrays that are filled for every token are not; leave it out."
            )
        return _as_simulated(config, config.refresh_tokens, tau_s, parameters, period_s, layer_latency_s, write_s)
    ratio = (layer_latency_s if filled_anew else config.window * period_s) / tau_s
    if ratio <= parameters.retention_limit:
        return RetentionBudget(period_s, ratio, 0, 0.0, share_lost(config, ratio * tau_s))
    limit_s = parameters.retention_limit * tau_s
    if filled_anew:
        raise InputError(
            f"filling window {config.window} takes {layer_latency_s * 1e3:.3g} ms, but a token lasts "
            f"{limit_s * 1e3:.3g} ms; use a shorter window or a cell that holds longer."
        )
    if parameters.refresh == "none":
        raise InputError(
            f"window {config.window} at a token period of {period_s * 1e6:.4g} us lets a token grow {ratio:.3g} time "
            f"constants ({tau_s * 1e3:g} ms) old, beyond the limit of {parameters.retention_limit:g}; use a shorter "
            "window or a cell that holds longer, or refresh it (refresh 'rewrite')."
        )
    if write_s <= 0:
        raise InputError("a window cannot be refreshed in no time: write_share or layer_latency_s leave none to write.")
    sweep_s = config.window * write_s
    if sweep_s >= limit_s:
        raise InputError(
            f"window {config.window} cannot be refreshed: rewriting it at {write_s * 1e9:g} ns a column takes "
            f"{sweep_s * 1e3:.3g} ms, but a token lasts {limit_s * 1e3:.3g} ms; use a shorter window or a cell that "
            "holds longer."
        )
    # Layer and rewrites must fit: period >= layer + refreshes x write, with refreshes < window x period / limit.
    period_s = max(period_s, layer_latency_s / (1 - sweep_s / limit_s))
    ratio = config.window * period_s / tau_s
    refreshes = math.ceil(ratio / parameters.retention_limit) - 1
    lost = share_lost(config, ratio * tau_s / (refreshes + 1))
    return RetentionBudget(period_s, ratio, refreshes, refreshes * write_s / period_s, lost)


def _as_simulated(
    config: GainCellConfig,
    every: int,
    tau_s: float,
    parameters: HardwareParameters,
    period_s: float,
    layer_latency_s: float,
    write_s: float,
) -> RetentionBudget:
    """A window whose tokens are written anew every so many tokens, as the design point simulates it."""
    if config.refresh == "read":
        raise InputError(
            "refresh 'read' has no price: how arrays read single cells, and what rounds them, is no part of the "
            "design; take refresh 'copy', whose digital copy has one."
        )
    refreshes = math.ceil(config.window / every) - 1
    period_s = max(period_s, layer_latency_s + refreshes * write_s)
    ratio, oldest = config.window * period_s / tau_s, min(every, config.window) * period_s / tau_s
    if oldest > parameters.retention_limit:
        raise InputError(
            f"refresh_tokens {every} at a token period of {period_s * 1e6:.4g} us lets a token grow {oldest:.3g} time "
            f"constants ({tau_s * 1e3:g} ms) old, beyond the limit of {parameters.retention_limit:g}; refresh it more "
            "often, or use a cell that holds longer."
        )
    lost = share_lost(config, oldest * tau_s)
    return RetentionBudget(period_s, ratio, refreshes, refreshes * write_s / period_s, lost)
