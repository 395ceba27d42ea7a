"""A converted model's heads beside the original's, fed the same."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from gaincell.errors import InputError
from gaincell.models.attention_modules import attention_modules

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class HeadErrors:
    """How far a model's attention is from the original's, layer by layer, where both get the original's inputs.

    What a head adds to its block is its output times its columns of the output projection: unlike the output itself it
    does not depend on the basis that value and output projection share, which training may turn.

    Attributes:
        heads: (layers, Hq) squared error of what a head adds, over the power of what it adds in the original; float64.
        blocks: (layers,) the same of the whole attention block.
        power: (layers, Hq) power of what a head adds in the original over the power of the block: a head with little of
            it may be far off without harm. Heads that cancel each other add up to more than 1.
    """

    heads: "NDArray[np.float64]"
    blocks: "NDArray[np.float64]"
    power: "NDArray[np.float64]"


@torch.no_grad()
def head_errors(original: PreTrainedModel, adapted: PreTrainedModel, ids: Tensor) -> HeadErrors:
    """Compare an adapted model's attention with the original's on a text.

    Every layer of the adapted model is given the hidden states that the original's has there, norm before attention
    included, so that errors of the layers below do not count.

    Args:
        original: the model as it came.
        adapted: the same architecture, with other parameters or another attention.
        ids: (B, T) token ids without pads; rows run one after the other.

    Raises:
        InputError: models of different depth or width, ids of another shape, or an attention whose heads do not meet
            in one output projection.
    """
    if ids.dim() != 2 or not ids.numel():
        raise InputError(f"ids must be token ids of shape (B, T), one at least; got {tuple(ids.shape)}.")
    first, second = _Watched(original), _Watched(adapted)
    if len(first.modules) != len(second.modules):
        raise InputError(
            f"the models have {len(first.modules)} and {len(second.modules)} attention layers; compare one model's."
        )
    sums = torch.zeros(4, len(first.modules), first.heads, dtype=torch.float64)
    for row in ids.split(1):
        wanted = first.run(row)
        got = second.run(row, given=[layer.hidden for layer in wanted])
        for index, (ours, theirs) in enumerate(zip(got, wanted, strict=True)):
            apart, together = ours.by_head() - theirs.by_head(), ours.out - theirs.out
            for place, x in enumerate((apart, theirs.by_head())):
                sums[place, index] += x.double().square().sum((1, 2)).cpu()
            for place, x in enumerate((together, theirs.out), 2):
                sums[place, index] += x.double().square().sum().cpu()
    tiny = torch.finfo(torch.float64).tiny
    error, power, block_error, block_power = sums.clamp(min=tiny)
    return HeadErrors((error / power).numpy(), (block_error / block_power)[:, 0].numpy(), (power / block_power).numpy())


@dataclass(frozen=True)
class _Layer:
    """One layer on one row: the block's input (1, T, hidden), what enters the output projection (T, Hq D), what the
    attention module puts out (T, hidden), and the projection's matrix by head (Hq, D, hidden)."""

    hidden: Tensor
    inside: Tensor
    out: Tensor
    matrix: Tensor

    def by_head(self) -> Tensor:
        """What every head adds: (Hq, T, hidden)."""
        heads, dim, _ = self.matrix.shape
        return self.inside.unflatten(-1, (heads, dim)).transpose(0, 1) @ self.matrix


class _Watched:
    """A model whose attention modules tell what goes in and out."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model, self.modules = model, attention_modules(model)
        self.blocks = [model.get_submodule(name.rpartition(".")[0]) for name in self.modules]
        self.heads = int(model.config.get_text_config(decoder=True).num_attention_heads)

    def run(self, row: Tensor, given: list[Tensor] | None = None) -> list[_Layer]:
        """Every layer on a row (1, T); `given` takes the place of the hidden states that enter each block."""
        count = len(self.modules)
        hidden, outs = [Tensor()] * count, [Tensor()] * count
        inside: list[tuple[nn.Module, Tensor]] = [(self.model, Tensor())] * count

        def enter(index: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                if given is not None:
                    here = given[index]
                    kwargs, args = (
                        ({**kwargs, "hidden_states": here}, args) if not args else (kwargs, (here, *args[1:]))
                    )
                hidden[index] = args[0] if args else kwargs["hidden_states"]
                return args, kwargs

            return hook

        def leave(index: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
                outs[index] = output[0][0]

            return hook

        def project(index: int) -> Callable[..., Any]:
            def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
                inside[index] = module, args[0][0]  # the last one called is the output projection

            return hook

        with ExitStack() as hooks, _evaluating(self.model):
            for index, (block, module) in enumerate(zip(self.blocks, self.modules.values(), strict=True)):
                handles = [
                    block.register_forward_pre_hook(enter(index), with_kwargs=True),
                    module.register_forward_hook(leave(index)),
                    *(
                        child.register_forward_pre_hook(project(index))
                        for name, child in module.named_modules()
                        if isinstance(child, nn.Linear | Conv1D) and not name.startswith("gaincell.")
                    ),
                ]
                for handle in handles:
                    hooks.callback(handle.remove)
            self.model.base_model(row.to(self.model.device), use_cache=False)
        return [
            _Layer(h, x, out, self._matrix(projection, x))
            for h, (projection, x), out in zip(hidden, inside, outs, strict=True)
        ]

    def _matrix(self, projection: nn.Module, inside: Tensor) -> Tensor:
        """The output projection by head, (Hq, D, hidden)."""
        weight = projection.weight
        assert isinstance(weight, Tensor)
        weight = weight if isinstance(projection, Conv1D) else weight.T
        if inside.shape[-1] % self.heads or len(weight) != inside.shape[-1]:
            raise InputError("the attention's heads do not meet in one output projection, so they cannot be compared.")
        return weight.unflatten(0, (self.heads, -1))


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
