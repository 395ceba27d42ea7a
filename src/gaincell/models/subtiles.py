"""Sub-tiles of a running model: query pulses, stored codes and the pulses between the two products."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gaincell.circuit.subtile import SubTile
from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.models.attention_modules import scalers_of
from gaincell.models.scalers import HeadScalers
from gaincell.ops import attention_map
from gaincell.ops.quantise import query_pulse, stored_code


@torch.no_grad()
def take_subtiles(
    model: PreTrainedModel, ids: Tensor, count: int, *, tokens: int = 2, channels: int = 1, seed: int = 0
) -> list[SubTile]:
    """Run a converted model, and take out what queries do in some of its sub-tiles.

    Sub-tiles come from layers spread evenly over those with arrays; head (of those that are not digital), query (of the
    second half of the text) and output lines are drawn. Every other one is drawn at random among the full sub-tiles,
    with tokens at random; between them stand those whose pulses add up to most for their query, with the tokens of the
    longest pulses. With all their tokens, only those are taken.

    Args:
        model: a converted model.
        ids: (1, T) token ids without pads.
        count: how many sub-tiles.
        tokens: how many keys of each; those of all its tokens if there are no more.
        channels: how many output lines of each.
        seed: of what is drawn.

    Raises:
        InputError: a model that is not converted, or with digital layers alone; queries or cells without levels, or too
            few tokens to fill a sub-tile.
    """
    every, length = list(scalers_of(model).values()), ids.shape[1]
    layers = _with_arrays(every, length)
    draw = np.random.default_rng(seed)
    wanted: dict[int, list[int]] = {}
    for i in range(count):
        wanted.setdefault(i * len(layers) // count, []).append(i)
    found: dict[int, SubTile] = {}

    def watch(layer: int) -> None:
        def observe(q: Tensor, k: Tensor, v: Tensor, preset: Tensor | None, absent: Tensor | None) -> None:
            for i in wanted[layer]:
                analog = [head for head in range(q.shape[1]) if head not in layers[layer].digital]
                head, query = analog[int(draw.integers(len(analog)))], int(draw.integers(length // 2, length))
                own = head * k.shape[1] // q.shape[1]
                arrays = _Arrays(
                    q[:1, head : head + 1],
                    k[:1, own : own + 1],
                    v[:1, own : own + 1],
                    None if preset is None else preset[:1, head : head + 1],
                    None if absent is None else absent[:1, own : own + 1],
                )
                config = layers[layer].config.ideal()
                name = f"layer {every.index(layers[layer])}, head {head}, query {query}"
                at_random = i % 2 == 0 and tokens < config.subtile_columns
                found[i] = _subtile(arrays, config, query, name, tokens, channels, draw, at_random=at_random)

        layers[layer].observer = observe

    was_training = model.training
    model.eval()
    try:
        for layer in wanted:
            watch(layer)
        model.base_model(ids, use_cache=False)
    finally:
        model.train(was_training)
        for scalers in layers:
            scalers.observer = None
    return [found[i] for i in range(count)]


def _with_arrays(every: list[HeadScalers], length: int) -> list[HeadScalers]:
    """Those layers that have columns to take, of a text of so many tokens."""
    if not every:
        raise InputError("the model attends with softmax, so there are no columns to take; convert it first.")
    layers = [scalers for scalers in every if not scalers.is_digital]
    if not layers:
        raise InputError("all layers of the model are digital, so there are no columns to take.")
    if any(scalers.config.query_levels is None or scalers.config.stored_levels is None for scalers in layers):
        raise InputError("columns are taken as codes, so the design point needs query_levels and stored_levels.")
    if length < 2 * layers[0].config.subtile_columns:
        raise InputError(
            f"{length} tokens are too few to take columns from; give {2 * layers[0].config.subtile_columns} or more."
        )
    return layers


@dataclass(frozen=True)
class _Arrays:
    """One head's operands (1, 1, T, D), preset (1, 1, T), absent (1, 1, T)."""

    q: Tensor
    k: Tensor
    v: Tensor
    preset: Tensor | None
    absent: Tensor | None


def _subtile(
    arrays: _Arrays,
    config: GainCellConfig,
    query: int,
    name: str,
    tokens: int,
    channels: int,
    draw: np.random.Generator,
    *,
    at_random: bool,
) -> SubTile:
    seen = np.arange(max(0, query - config.window + 1), query + 1)
    tile = seen % config.window // config.subtile_columns
    full = [j for j in np.unique(tile) if (tile == j).sum() == config.subtile_columns]
    row = attention_map(arrays.q, arrays.k, config, preset=arrays.preset, absent=arrays.absent)[0, 0, query]
    phi = row.double().cpu().numpy()
    own = draw.choice(full) if at_random else max(full, key=lambda j: phi[seen[tile == j]].sum())
    members = seen[tile == own]
    absent = np.zeros(len(members), bool) if arrays.absent is None else arrays.absent[0, 0, members].cpu().numpy()
    if tokens >= len(members):
        chosen = np.arange(len(members))
    elif at_random:
        there = np.flatnonzero(~absent)
        chosen = np.sort(draw.choice(there, min(tokens, len(there)), replace=False))
    else:
        chosen = np.sort(np.argsort(-phi[members], kind="stable")[:tokens])
    lines = np.sort(draw.choice(arrays.v.shape[3], min(channels, arrays.v.shape[3]), replace=False))
    pulses = query_pulse(arrays.q[0, 0, query], config) * ((config.query_levels or 2) - 1)
    keys, values = (stored_code(x[0, 0, members], config).cpu().numpy() for x in (arrays.k, arrays.v))
    return SubTile(
        name=f"{name}, sub-tile {own}",
        sampled=at_random,
        pulses=tuple(map(int, pulses.round().tolist())),
        preset=0.0 if arrays.preset is None else round(float(arrays.preset[0, 0, query]), 6),
        tokens=tuple(map(int, chosen)),
        keys=_rows(keys[chosen]),
        channels=tuple(map(int, lines)),
        values=_rows(values[:, lines].T),
        ages=tuple(int(query - s) for s in members),
        phi=tuple(round(float(x), 6) for x in phi[members]),
    )


def _rows(codes: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(map(int, row)) for row in codes)
