"""What a model's layers are, as far as the cost of attention depends on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from gaincell.errors import InputError, one_sentence


@dataclass(frozen=True)
class Layer:
    """One layer of a decoder.

    Attributes:
        kind: what transformers calls it: 'full_attention', 'sliding_attention', 'linear_attention', 'mamba' and so on.
        heads: query heads; 0 where the layer does not attend, and then all that follows is 0 or None.
        kv_heads: key/value heads; divides the query heads, of which each group shares one.
        key_dim: width of a key, and of a query.
        value_dim: width of a value, and of a head's output.
        window: tokens that it looks back to, the newest among them, or those of a chunk. None: all there are.
        latent: numbers of one token that keys and values of all heads are made from, where there is such a latent: what
            a digital cache keeps instead of them. 0: there is none.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # as it is read back from a file

    kind: str
    heads: int = 0
    kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    window: int | None = None
    latent: int = 0

    def __post_init__(self) -> None:
        numbers = (self.kv_heads, self.key_dim, self.value_dim, 1 if self.window is None else self.window)
        if self.heads < 0 or (self.heads and (min(numbers) < 1 or self.latent < 0 or self.heads % self.kv_heads)):
            raise InputError(
                f"layer '{self.kind}': key/value heads, widths and window must be at least 1, and query heads a "
                f"multiple of key/value heads; got {self}."
            )

    @property
    def group(self) -> int:
        """Query heads that share one key/value head."""
        return self.heads // self.kv_heads

    @property
    def cached(self) -> int:
        """Numbers that a digital cache keeps of one token."""
        return self.latent or self.kv_heads * (self.key_dim + self.value_dim)

    @property
    def carried(self) -> int:
        """Numbers that go to attention and come back for one token: queries, keys, values and outputs."""
        return (self.heads + self.kv_heads) * (self.key_dim + self.value_dim)

    def attends_to(self, window: int) -> int:
        """Tokens it attends to where there are so many."""
        return window if self.window is None else min(self.window, window)


@dataclass(frozen=True)
class Workload:
    """The layers of a decoder, first to last.

    Attributes:
        layers: all of them, those that do not attend too.
        positions: tokens that the model can tell apart, where its config says so.
        notes: what of the config was taken on trust, in sentences.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    layers: tuple[Layer, ...]
    positions: int | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def uniform(cls, layers: int, heads: int, kv_heads: int, head_dim: int, window: int | None = None) -> Self:
        """So many layers that attend, all alike."""
        kind = "full_attention" if window is None else "sliding_attention"
        return cls((Layer(kind, heads, kv_heads, head_dim, head_dim, window),) * layers)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """What `dataclasses.asdict` gave.

        Raises:
            InputError: a field that is missing, unknown or of another kind.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(data))
        except ValidationError as error:
            raise one_sentence(error, "layers of a model") from None

    @property
    def attending(self) -> tuple[Layer, ...]:
        """The layers that attend."""
        return tuple(layer for layer in self.layers if layer.heads)

    def check_attends(self) -> None:
        """Refuse layers of which none attends: there is nothing to estimate.

        Raises:
            InputError: none of them has heads.
        """
        if not self.attending:
            raise InputError(
                f"model: none of its {len(self.layers)} layers attends; give one of them heads, kv_heads, key_dim and "
                "value_dim."
            )

    @property
    def cached(self) -> int:
        """Numbers that a cache keeps of one token, all layers."""
        return sum(layer.cached for layer in self.layers)

    @property
    def carried(self) -> int:
        """Numbers that go to attention and come back for one token, all layers."""
        return sum(layer.carried for layer in self.layers)


#: GPT-2 (small), the model of the paper.
GPT2 = Workload.uniform(layers=12, heads=12, kv_heads=12, head_dim=64)
