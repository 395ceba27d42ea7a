"""Which layers and heads a design point keeps digital, as they are written: 24, or '20.3' for head 3 of layer 20."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from gaincell.errors import InputError

_HEAD = re.compile(r"(\d{1,6})(?:\.(\d{1,6}))?", re.ASCII)


def digital_entries(value: Any) -> tuple[int | str, ...]:
    """Entries in order of layer and head, each once; of a layer that is digital as a whole, no single heads.

    Args:
        value: numbers of layers, as integers or words, and words such as "20.3" for head 3 of layer 20.

    Raises:
        ValueError: no list, or an entry that is neither; one that YAML or Python read as a fraction says so.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ValueError(f"digital is a list of layers and heads, such as [24, '20.3']; got {value!r:.60}.")
    places = {_place(entry) for entry in value}
    whole = {layer for layer, head in places if head is None}
    kept = {(layer, -1) for layer in whole} | {(n, h) for n, h in places if h is not None and n not in whole}
    return tuple(layer if head < 0 else f"{layer}.{head}" for layer, head in sorted(kept))


def digital_heads(entries: Iterable[int | str], layer: int, heads: int) -> tuple[int, ...]:
    """Which of a layer's query heads are digital, ascending.

    Args:
        entries: as `digital_entries` gives them.
        layer: its number among those that attend.
        heads: how many query heads it has.

    Raises:
        InputError: it has no such head.
    """
    found = [head for number, head in map(_place, entries) if number == layer]
    if None in found:
        return tuple(range(heads))
    named = [head for head in found if head is not None]
    if named and named[-1] >= heads:
        raise InputError(
            f"design point: digital names head {named[-1]} of layer {layer}, whose query heads are 0 ... {heads - 1}."
        )
    return tuple(named)


def analog_layers(entries: Iterable[int | str], heads: Sequence[int]) -> list[int]:
    """Which layers are not digital as a whole, ascending; by layer, how many query heads it has."""
    entries = tuple(entries)
    return [layer for layer, count in enumerate(heads) if len(digital_heads(entries, layer, count)) < count]


def whole_layers(entries: Iterable[int | str], heads: Sequence[int]) -> tuple[int | str, ...]:
    """Entries in order, a layer whose heads are all named as that layer.

    Args:
        entries: as `digital_entries` gives them.
        heads: by layer, how many query heads it has.

    Raises:
        InputError: a layer has no such head.
    """
    entries = tuple(entries)
    whole = {*range(len(heads))}.difference(analog_layers(entries, heads))
    return digital_entries((*entries, *whole))


def check_layers(entries: Iterable[int | str], layers: int) -> None:
    """Refuse entries of layers that a model of so many, all of which attend, has not.

    Raises:
        InputError: there is such an entry.
    """
    for entry in entries:
        if _place(entry)[0] >= layers:
            raise InputError(
                f"design point: digital names {entry!r}, but the layers of this model that attend are "
                f"0 ... {layers - 1}."
            )


def _place(entry: Any) -> tuple[int, int | None]:
    """Layer, and head or None for all of them."""
    if isinstance(entry, float):
        raise ValueError(
            f"digital holds the number {entry}; write a single head in quotes, as '20.3' for head 3 of layer 20."
        )
    found = None if isinstance(entry, bool) else _HEAD.fullmatch(str(entry))
    if found is None:
        raise ValueError(f"digital holds {entry!r:.60}; an entry is a layer, 24, or a head, '20.3'.")
    layer, head = found.groups()
    return int(layer), None if head is None else int(head)
