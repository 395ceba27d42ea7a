"""Two tokens, and one more, before a model attends in gain cells and after: no family is served untried."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig, PreTrainedModel
from transformers.masking_utils import causal_mask_function, eager_mask

from gaincell.errors import InputError
from gaincell.models.arguments import check_arguments, learned_sinks, unserved_argument
from gaincell.models.intake import running, taking_in
from gaincell.models.interface import gaincell_attention, gaincell_mask
from gaincell.models.kept_tokens import seen_alone
from gaincell.models.other_layers import check_states
from gaincell.models.ring_cache import RingCache
from gaincell.models.scalers import HeadScalers, scalers_in
from gaincell.models.softmax import softmax_attention
from gaincell.ops import naive_attention

_IMPLEMENTATION = "gaincell-trial"
_TOKENS = (5, 7, 6)  # any will do
#: As far as chunks of fixed position are looked for.
LONGEST = 2**17
_BLOCKED = -1e4  # what is added to a score that must not count is below this in every dtype

_attend: ContextVar[Callable[..., Any]] = ContextVar("gaincell_trial_attend")
_mask: ContextVar[Callable[..., Any]] = ContextVar("gaincell_trial_mask")


@dataclass(frozen=True)
class Call:
    """How an attention module calls softmax attention.

    Attributes:
        heads, kv_heads, head_dim: Hq, Hkv and D of what it passes.
        scaling: what it lets the scores be multiplied with.
        window: how many tokens a query is said to see, by the mask or beside it, where that is fewer than were asked
            for; None where it is not.
        seen: how many the mask lets it see, which is all that softmax goes by, eager or of torch; None likewise.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scaling: float
    window: int | None
    seen: int | None


class _UnservedError(Exception):
    """What a model does that gain cells do not, on its way to where the model's name is known."""


def can_run(model: nn.Module) -> bool:
    """Whether the weights are here: not on `meta` (unless accelerate fetches them), not parted over machines."""
    fetched = any(hasattr(module, "_hf_hook") for module in model.modules())
    return all(p.numel() > 0 and (fetched or not p.is_meta) for p in model.parameters())


@torch.no_grad()
def softmax_calls(model: PreTrainedModel, modules: dict[str, nn.Module], reach: int) -> dict[str, Call]:
    """Let a model that attends with softmax read two tokens, and see how each attention module calls attention.

    Args:
        model: the model before conversion; left as it was.
        modules: its attention modules by name.
        reach: a window of so many tokens or more is none.

    Raises:
        InputError: a module that calls attention not at all or twice, with arguments that gain cells do not know, with
            keys and values of different widths, or under a mask that is more than causality and a window; one that
            puts out something else than with softmax of the scaled products alone; a model that cannot read two tokens,
            or whose layers of another kind do not read token by token.
    """
    listening = _Listening(model, {module: name for name, module in modules.items()}, reach)
    with ExitStack() as hooks:
        for module in listening.names:
            hooks.callback(module.register_forward_hook(listening.compare, with_kwargs=True).remove)
        with _tried(model, listening.attend, listening.mask, "two tokens with softmax"):
            model.base_model(input_ids=_ids(model)[:, :2], use_cache=False)
    what = "a text in parts with its own cache"
    with _tried(model, listening.attend, listening.mask, what), _attending(model, "eager"):
        check_states(model)
    return listening.heard()


class _Listening:
    """Softmax attention that notes how it is called.

    Attributes:
        model: the model that calls it.
        names: its attention modules, and what each is called.
        reach: a window of so many tokens or more is none.
        calls: by module, what was heard.
    """

    def __init__(self, model: PreTrainedModel, names: dict[nn.Module, str], reach: int) -> None:
        self.model, self.names, self.reach = model, names, reach
        self.calls: dict[nn.Module, list[Call]] = {module: [] for module in names}

    def attend(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any,
        scaling: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """What transformers calls in place of attention."""
        if module not in self.calls:
            raise _UnservedError(f"attends in {type(module).__name__}, which is not among its attention layers")
        name = self.names[module]
        scale = _scale(query, scaling, name)
        _check_operands(query, key, value, attention_mask, name)
        if (argument := unserved_argument(module, kwargs)) is not None:
            raise _UnservedError(f"attends in {name} with {argument}")
        check_arguments(module, kwargs)
        if getattr(attention_mask, "chunked", False):
            raise _UnservedError(f"attends in chunks of fixed position in {name}")
        seen = getattr(attention_mask, "window", None)
        windows = [seen, kwargs.get("sliding_window")]
        window = min((w for w in windows if isinstance(w, int) and 0 < w < self.reach), default=None)
        self.calls[module].append(Call(query.shape[1], key.shape[1], query.shape[3], scale, window, seen))
        return softmax_attention(query, key, value, scale, learned_sinks(module, kwargs)), None

    def compare(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """A forward hook: what the module put out with softmax as it is here, beside its own eager attention."""
        with _attending(self.model, "eager"):
            expected, found = _first(module.forward(*args, **kwargs)), _first(output)
        error = (found - expected).double().norm() / expected.double().norm().clamp(min=1e-30)
        # Softmax is in float32 at the widest, and both round.
        if bool(error > max(torch.finfo(dtype).eps for dtype in (expected.dtype, torch.float32)) ** 0.5):
            raise _UnservedError(f"computes more in {self.names[module]} than softmax of scaled products")

    def mask(self, *args: Any, mask_function: Callable[..., Any] = causal_mask_function, **kwargs: Any) -> Any:
        """An eager mask that carries how far it lets a query see."""
        found: Any = eager_mask(*args, mask_function=mask_function, **kwargs)
        if found is not None:
            found.window, found.chunked = _reach_of(mask_function, self.reach, found.device)
        return found

    def heard(self) -> dict[str, Call]:
        """The one call of each module, by its name."""
        kind = _kind(self.model)
        for module, name in self.names.items():
            if not self.calls[module]:
                raise InputError(
                    f"{kind} does not use transformers' attention interface ({name}); gain cells cannot serve it."
                )
            if len(self.calls[module]) > 1:
                raise InputError(
                    f"{kind} attends {len(self.calls[module])} times in {name}; gain cells serve one a layer."
                )
        return {name: self.calls[module][0] for module, name in self.names.items()}


@torch.no_grad()
def dry_run(model: PreTrainedModel, modules: dict[str, nn.Module]) -> None:
    """Let a converted model read two tokens into a ring, then one more; every layer in float64, beside the oracle.

    Args:
        model: a converted model; left as it was.
        modules: its attention modules by name.

    Raises:
        InputError: a model that fails on a ring, whose keys do not reach its attention as the ring handed them on, or
            that attends otherwise than the oracle does.
    """
    names = {module: name for name, module in modules.items()}
    seen: dict[nn.Module, list[tuple[Tensor, ...]]] = {module: [] for module in names}

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        scalers = scalers_in(module)
        assert scalers is not None
        found = running(scalers)
        if found is None or found.ring is None:
            raise _UnservedError(f"does not hand its keys to its cache in {names[module]}")
        operands = q, k, v, x = tuple(operand.to(_widest(operand)) for operand in (query, key, value, found.x))
        with taking_in(scalers, x, found.ring):
            out, phi = gaincell_attention(module, q, k, v, attention_mask, **kwargs)
        seen[module].append((*operands, out.transpose(1, 2)))
        softmax = _scale(query, kwargs.get("scaling"), names[module]), learned_sinks(module, kwargs)
        if len(seen[module]) == 2 and not _is_the_oracles(scalers, seen[module], *softmax):
            raise _UnservedError(f"does not attend in {names[module]} as the oracle does")
        return out.to(query.dtype), phi

    with _without_noise(modules), _tried(model, attend, gaincell_mask, "three tokens with a ring as its cache"):
        cache, ids = RingCache(model), _ids(model)
        for part in (ids[:, :2], ids[:, 2:]):
            model.base_model(input_ids=part, past_key_values=cache, use_cache=True)
    for module, name in names.items():
        if len(seen[module]) != 2:
            raise InputError(f"{_kind(model)} does not attend in {name} each time; gain cells cannot serve it.")


@contextmanager
def _tried(model: PreTrainedModel, attend: Callable[..., Any], mask: Callable[..., Any], what: str) -> Iterator[None]:
    """While the model, in evaluation mode, attends by `attend`; whatever it raises is told in one sentence."""
    modes = {module: module.training for module in model.modules()}
    tokens = _attend.set(attend), _mask.set(mask)
    try:
        for module in modes:
            module.training = False
        with _attending(model, _IMPLEMENTATION):
            yield
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except _UnservedError as error:
        raise InputError(f"{_kind(model)} {error}; gain cells cannot serve it.") from None
    except Exception as error:  # whatever a family does with a call that it was not written for
        line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise InputError(
            f"{_kind(model)} cannot read {what} ({type(error).__name__}: {line.rstrip('.'):.160}); gain cells cannot "
            "serve it."
        ) from error
    finally:
        _attend.reset(tokens[0])
        _mask.reset(tokens[1])
        for module, training in modes.items():
            module.training = training


@contextmanager
def _without_noise(modules: dict[str, nn.Module]) -> Iterator[None]:
    """What is drawn anew at each call would differ from the oracle's, and would take from the caller's draws.

    And a path that was asked for by name might not serve the float64 that all is compared in; one that must, if cells
    leak each at its own pace, is found.
    """
    there = [scalers_in(module) for module in modules.values()]
    configs = {scalers: scalers.config for scalers in there if scalers is not None}
    try:
        for scalers, config in configs.items():
            path = "auto" if config.aged else "blocked"
            scalers.config = config.replace(score_noise=0.0, readout_noise=0.0, path=path)
        yield
    finally:
        for scalers, config in configs.items():
            scalers.config = config


@contextmanager
def _attending(model: PreTrainedModel, implementation: str) -> Iterator[None]:
    before = implementations(model)
    try:
        for config, _ in before:
            config._attn_implementation_internal = implementation
        yield
    finally:
        restore(before)


def implementations(model: PreTrainedModel) -> list[tuple[PretrainedConfig, str | None]]:
    """Every config of a model and of its parts, with the attention that it names."""
    found: dict[int, tuple[PretrainedConfig, str | None]] = {}
    stack = [model.config, *(getattr(module, "config", None) for module in model.modules())]
    while stack:
        config = stack.pop()
        if isinstance(config, PretrainedConfig) and id(config) not in found:
            found[id(config)] = config, config._attn_implementation
            stack.extend(getattr(config, name, None) for name in config.sub_configs)
    return list(found.values())


def restore(implementations: list[tuple[PretrainedConfig, str | None]]) -> None:
    """Let every config name the attention that it did."""
    for config, implementation in implementations:
        config._attn_implementation_internal = implementation


def _scale(query: Tensor, scaling: Any, name: str) -> float:
    if scaling is None:
        return query.shape[3] ** -0.5
    if isinstance(scaling, Tensor) and scaling.numel() != 1:
        raise _UnservedError(f"scales the scores of {name} with more than one number")
    return float(scaling)


def _check_operands(query: Tensor, key: Tensor, value: Tensor, mask: Any, name: str) -> None:
    if key.shape[3] != value.shape[3] or query.shape[3] != key.shape[3]:
        widths = f"{query.shape[3]}, {key.shape[3]} and {value.shape[3]}"
        raise _UnservedError(f"has queries, keys and values of different head_dim ({widths}) in {name}")
    if key.shape != value.shape or key.shape[2] != query.shape[2] or query.shape[1] % key.shape[1]:
        shapes = f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        raise _UnservedError(f"attends in {name} with queries, keys and values of shapes {shapes}")
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dim() != 4:
        raise _UnservedError(f"has a mask of its own in {name}")
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, 2 * _BLOCKED)
    future = mask[..., 0, 1] < _BLOCKED
    if bool(mask[..., 0, 0].any() | mask[..., 1, :2].any() | ~future.all()):
        raise _UnservedError(f"adds more to the scores of {name} than what hides the future")


def _reach_of(mask_function: Callable[..., Any], reach: int, device: torch.device) -> tuple[int | None, bool]:
    """Of a mask over a long text: how many tokens a query sees (None: `reach` or more), and whether that jumps."""
    row = torch.zeros((), dtype=torch.long, device=device)
    position = torch.arange(1, max(reach, LONGEST) + 1, device=device)
    sees_last = torch.as_tensor(mask_function(row, row, position, position - 1)).expand(len(position))
    seen = torch.as_tensor(mask_function(row, row, position[-1], position[-1] - position[:reach] + 1)).expand(reach)
    count = int(seen.sum())
    return (count if count < reach else None), not bool(sees_last.all())


def _is_the_oracles(scalers: HeadScalers, seen: list[tuple[Tensor, ...]], scale: float, learned: Tensor | None) -> bool:
    """Whether a module that was called with parts of a text put out what the oracle does of the whole.

    Of digital heads that is softmax with this scale, and with learned sinks where the module has some.
    """
    q, k, v, x, out = (torch.cat(list(parts), -2) for parts in zip(*seen, strict=True))
    if scalers.digital:
        some = list(scalers.digital)
        mask = seen_alone(k, v, None, scalers.own_window).mask
        wanted = softmax_attention(q, k, v, scale, learned, mask).transpose(1, 2)[:, some]
        error = (out[:, some] - wanted).abs().max()
        if bool(error > torch.finfo(torch.float32).eps ** 0.5 * wanted.abs().max()):
            return False
    if scalers.is_digital:
        return True
    before = torch.arange(q.shape[2], device=q.device).expand(len(q), -1)
    within = before.clamp(max=scalers.config.window)
    preset = None if scalers.preset is None else scalers.preset(x, within)
    absent = None if scalers.sinks is None else scalers.sinks.absent(v, before)
    scaled = scalers.scale("q", q), scalers.scale("k", k), scalers.scale("v", v)
    expected, _ = naive_attention(*scaled, scalers.config, preset=preset, absent=absent)
    expected = scalers.scale("out", expected)
    if scalers.sinks is not None:
        expected = scalers.sinks.mix(expected, v[:, :, :1], x, within)
    analog = [head for head in range(scalers.heads) if head not in scalers.digital]
    out, expected = out[:, analog], expected[:, analog]
    error = (out - expected).abs()
    exact = scalers.config.matmul == "float32" and q.dtype == torch.float64
    # Of what lies on the edge of two codes, rounding may put some on the other side.
    alike = error <= (1e-6 if exact else 0.1) * expected.abs().max()
    return not bool(expected.isfinite().all()) or float(alike.double().mean()) > 0.99


def _widest(x: Tensor) -> torch.dtype:
    """Where all forms agree to the last code; Apple's GPUs have no float64."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _ids(model: PreTrainedModel) -> Tensor:
    weights = [p.device for p in model.parameters() if not p.is_meta]
    return torch.tensor([_TOKENS], device=weights[0] if weights else "cpu")


def _kind(model: PreTrainedModel) -> str:
    return type(model).__name__


def _attends(*args: Any, **kwargs: Any) -> Any:
    return _attend.get()(*args, **kwargs)


def _masks(*args: Any, **kwargs: Any) -> Any:
    return _mask.get()(*args, **kwargs)


AttentionInterface.register(_IMPLEMENTATION, _attends)
AttentionMaskInterface.register(_IMPLEMENTATION, _masks)
