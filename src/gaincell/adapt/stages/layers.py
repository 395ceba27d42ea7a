"""Walk a decoder layer by layer over many rows, keeping only one layer's activations."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from gaincell.models import attention_modules
from gaincell.models.arguments import learned_sinks
from gaincell.models.interface import IMPLEMENTATION
from gaincell.models.trial import implementations, restore

#: How many times the median a massive hidden state is long: 1 % of SmolLM2's tokens are.
MASSIVE = 3.0


def _by_name(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name: some models pass them by position."""
    names = list(inspect.signature(module.forward).parameters)
    return {**dict(zip(names, args, strict=False)), **kwargs}


def without_mask(kwargs: dict[str, Any]) -> dict[str, Any]:
    """A layer's arguments less softmax's mask: rows are whole, and causality belongs to the arrays."""
    return {**kwargs, "attention_mask": None}


class _StopError(Exception):
    """Raised inside a forward pass once the first layer's input is known."""


@dataclass(frozen=True)
class Teaching:
    """What softmax attention did in one layer: the lesson for the gain-cell layer in its place.

    Attributes:
        inputs: hidden states that went into the attention module, (N, T, hidden).
        outputs: what came out of it, after its projection, (N, T, hidden).
        kwargs: its other arguments (position embeddings and the like), the same for every batch.
        sinks: (N, T) tokens whose hidden state grows massive in the original model, see `massive`.
    """

    inputs: Tensor
    outputs: Tensor
    kwargs: dict[str, Any]
    sinks: Tensor


@dataclass(frozen=True)
class Heads:
    """Queries, keys, values (after rotary embedding, before scaling) and softmax outputs of one layer's heads.

    q and out: (N, Hq, T, D); k and v: (N, Hkv, T, D). learned: (Hq,) logits beside the scores in softmax's sum, of
    models that have such sinks; else None.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    out: Tensor
    learned: Tensor | None = None


def softmax_of(model: PreTrainedModel) -> str:
    """The softmax attention that computes all that a model's does: torch's own leaves learned sinks out."""
    return "eager" if any(getattr(module, "sinks", None) is not None for module in model.modules()) else "sdpa"


@contextmanager
def attending(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    """Let a converted model attend with another implementation for a while."""
    before = implementations(model)
    model.config._attn_implementation = implementation
    try:
        yield
    finally:
        restore(before)


@contextmanager
def attending_by(model: PreTrainedModel, attend: Callable[..., tuple[Tensor, Any]]) -> Iterator[None]:
    """Let a converted model attend for a while by a function of the kind that transformers calls."""
    name = f"{IMPLEMENTATION}-record"
    ALL_ATTENTION_FUNCTIONS[name] = attend
    try:
        with attending(model, name):
            yield
    finally:
        del ALL_ATTENTION_FUNCTIONS[name]


@torch.no_grad()
def massive(model: PreTrainedModel, ids: Tensor, batch: int) -> Tensor:
    """Tokens whose hidden state, after some layer, is `MASSIVE` times as long as the median: (N, T) of ids (N, T).

    The first token of a text, and a few more (" the" in SmolLM2): later layers attend to them when nothing else fits,
    so that an error there is an error everywhere [Sun et al. 2024, massive activations].
    """
    found: list[Tensor] = []
    with attending(model, softmax_of(model)):
        for part in ids.split(batch):
            states = model(part, use_cache=False, output_hidden_states=True, logits_to_keep=1).hidden_states[1:-1]
            long = torch.zeros_like(part, dtype=torch.bool)
            for norms in (torch.linalg.vector_norm(state, dim=-1) for state in states):
                long |= norms > MASSIVE * norms.median()
            found.append(long)
    return torch.cat(found)


class LayerWalk:
    """Hidden states carried from layer to layer: the original model's (teacher), and the adapted one's (student).

    Args:
        model: a converted model whose attention weights are still the original's in every layer not yet `advance`d to.
        ids: (N, T) token ids without padding; N a multiple of `batch`.
        batch: rows per forward pass.

    Attributes:
        hidden: (N, T, hidden) what the teacher's next layer takes in.
        student: the same of the student, whose earlier layers attend in gain cells; moved on by `follow`.
    """

    def __init__(self, model: PreTrainedModel, ids: Tensor, batch: int) -> None:
        self.model, self.batch = model, batch
        self.modules = attention_modules(model)
        self._blocks = _blocks(model, list(self.modules))
        self._calls: list[list[dict[str, Any]]] = []
        self.sinks = massive(model, ids, batch)
        self.hidden = self.student = self._embed(ids)

    def __len__(self) -> int:
        return len(self._blocks)

    @torch.no_grad()
    def advance(self, index: int) -> Teaching:
        """Run layer `index` with softmax attention over all rows; its output becomes the next layer's input."""
        module = list(self.modules.values())[index]
        inputs, outputs, kept = [], [], {}

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            named = _by_name(module, args, kwargs)
            inputs.append(named.pop("hidden_states"))
            kept.update(named)

        def after(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            outputs.append(output[0])

        hooks = [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]
        try:
            with attending(self.model, softmax_of(self.model)):
                self.hidden = self._through(index, self.hidden, self._calls[index])
        finally:
            for hook in hooks:
                hook.remove()
        return Teaching(torch.cat(inputs), torch.cat(outputs), kept, self.sinks)

    @torch.no_grad()
    def heads(self, index: int, teaching: Teaching) -> Heads:
        """Queries, keys, values and softmax outputs of a layer's heads, over all rows."""
        found: list[Heads] = []

        def record(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
            out, weights = _softmax(module, query, key, value, mask, **kwargs)
            found.append(Heads(query, key, value, out.transpose(1, 2), learned_sinks(module, kwargs)))
            return out, weights

        module = list(self.modules.values())[index]
        with attending_by(self.model, record):
            for part in teaching.inputs.split(self.batch):
                module(hidden_states=part, **teaching.kwargs)
        joined = (torch.cat([getattr(h, name) for h in found]) for name in ("q", "k", "v", "out"))
        return Heads(*joined, learned=found[0].learned)

    @torch.no_grad()
    def student_inputs(self, index: int) -> Tensor:
        """What the student's attention module of layer `index` takes in, (N, T, hidden)."""
        inputs: list[Tensor] = []

        def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs.append(_by_name(module, args, kwargs)["hidden_states"])
            raise _StopError

        hook = list(self.modules.values())[index].register_forward_pre_hook(stop, with_kwargs=True)
        for part in self.student.split(self.batch):
            with suppress(_StopError):
                self._through(index, part, self._calls[index])
        hook.remove()
        return torch.cat(inputs)

    @torch.no_grad()
    def follow(self, index: int) -> None:
        """Run layer `index` as it attends now, in gain cells, over the student's hidden states."""
        self.student = self._through(index, self.student, [without_mask(call) for call in self._calls[index]])

    def _through(self, index: int, hidden: Tensor, calls: list[dict[str, Any]]) -> Tensor:
        for block, kwargs in zip(self._blocks[index], calls, strict=True):
            outputs = [block(hidden_states=part, **kwargs) for part in hidden.split(self.batch)]
            hidden = torch.cat([out[0] if isinstance(out, tuple) else out for out in outputs])
        return hidden

    @torch.no_grad()
    def _embed(self, ids: Tensor) -> Tensor:
        """The first layer's input of every row, and the arguments each layer is called with."""
        first: list[Tensor] = []
        calls: dict[nn.Module, dict[str, Any]] = {}

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls[module] = _by_name(module, args, kwargs)
            del calls[module]["hidden_states"]

        def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            first.append(_by_name(module, args, kwargs)["hidden_states"])
            raise _StopError

        with attending(self.model, softmax_of(self.model)):
            every = [block for blocks in self._blocks for block in blocks]
            hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in every]
            self.model(ids[: self.batch], use_cache=False)
            for hook in hooks:
                hook.remove()
            self._calls = [[calls[block] for block in blocks] for blocks in self._blocks]
            hook = self._blocks[0][0].register_forward_pre_hook(stop, with_kwargs=True)
            for part in ids.split(self.batch):
                with suppress(_StopError):
                    self.model(part, use_cache=False)
            hook.remove()
        return torch.cat(first)


def _blocks(model: PreTrainedModel, names: list[str]) -> list[list[nn.Module]]:
    """For every attention module of these names its block, and those without attention before the next."""
    attending = [model.get_submodule(name.rpartition(".")[0]) for name in names]
    stack = list(model.get_submodule(names[0].rpartition(".")[0].rpartition(".")[0]).children())
    if any(block not in stack for block in attending):
        return [[block] for block in attending]
    places = [stack.index(block) for block in attending]
    return [stack[start:end] for start, end in zip(places, [*places[1:], places[-1] + 1], strict=True)]


def _softmax(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **kwargs: Any) -> Any:
    """Softmax attention by torch; with learned sinks, which torch leaves out, written out, under an added mask."""
    learned = learned_sinks(module, kwargs)
    if learned is None:
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask, **kwargs)
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = kwargs["scaling"] * (query @ key.mT) + (0.0 if mask is None else mask)
    sums = torch.logaddexp(scores.logsumexp(-1), learned[:, None])
    return ((scores - sums[..., None]).exp() @ value).transpose(1, 2), None
