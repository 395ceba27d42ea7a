"""How large the parameters of a model are: what learning rates are relative to.

Adam moves every entry of a tensor by about its rate, whatever the gradient. In absolute numbers a rate that suits one
model wrecks another, whose weights are a tenth as large, though both may compute the same function: what a factor moves
from the queries to the keys, or from the values to the output projection, must not change what is learned. Adafactor
scales by a tensor's root mean square for that reason [Shazeer and Stern 2018]; here rows and columns count, too, since
such factors may differ from channel to channel.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

#: What a power is divided by where it is zero.
TINY = torch.finfo(torch.float32).tiny
#: Size of a tensor that is zero everywhere, such as one not yet learned.
UNKNOWN = 0.1
#: Of weights that predict score preset and sinks, likewise: there are as many as the layer's input has channels.
UNKNOWN_PREDICTOR = 0.01
#: A bias may move at least as if it were this share of the weight beside it: many are almost zero.
BIAS_SHARE = 0.1
#: No row, column or entry counts as smaller than this share of what it is a part of.
SMALLEST = 0.01


def sizes(module: nn.Module) -> dict[str, Tensor]:
    """The size of every parameter of a module by name, of a shape that broadcasts to the parameter's.

    Of a matrix r c, with a factor for each row and each column such that all rows and columns of W / (r c) have root
    mean square 1; of other weights their root mean square; of a scaler's a the magnitude of each. Biases of scalers for
    q, k and v, and of predictors, are in the arrays' own units (volts, pulse widths): the mean magnitude, 0.1 at least.
    Other biases, and the output scaler's, are at least `BIAS_SHARE` of what stands beside them. LoRA's matrices, of
    which one starts at zero, are as large as the weight that they add to.
    """
    named = dict(module.named_parameters())
    return {name: _size(name, parameter.detach(), named) for name, parameter in named.items()}


def is_predictor(name: str) -> bool:
    """Whether these are the weights that a score preset or the sinks' share is predicted with."""
    return is_scaler(name) and name.endswith(".weight")


def is_scaler(name: str) -> bool:
    """Whether a parameter is of the digital side around a head's arrays."""
    return "gaincell." in name


def rms(x: Tensor) -> Tensor:
    """Root mean square of all entries, as a tensor without dimensions."""
    return x.detach().double().square().mean().sqrt().float()


def _size(name: str, x: Tensor, named: Mapping[str, nn.Parameter]) -> Tensor:
    if is_predictor(name):
        return _balanced(x, UNKNOWN_PREDICTOR)
    if is_scaler(name):
        own, least = x.abs(), x.abs().mean()
        if name.endswith("_scale"):
            return _known(torch.maximum(own, SMALLEST * least), UNKNOWN)
        if not name.endswith("out_bias"):
            return least.clamp(min=0.1)
        beside = named[name.removesuffix("bias") + "scale"].detach().abs()
        return _known(torch.maximum(own, BIAS_SHARE * torch.maximum(beside, SMALLEST * beside.mean())), UNKNOWN)
    kind, _, _ = name.rpartition(".lora_")
    if kind and f"{kind}.base_layer.weight" in named:
        return _known(rms(named[f"{kind}.base_layer.weight"]), UNKNOWN)
    if x.dim() == 2:
        return _balanced(x, UNKNOWN)
    beside = named.get(name.removesuffix("bias") + "weight") if name.rpartition(".")[2] == "bias" else None
    own = rms(x)
    return _known(own if beside is None else torch.maximum(own, BIAS_SHARE * rms(beside)), UNKNOWN)


def _balanced(x: Tensor, unknown: float) -> Tensor:
    """r c of a matrix: the root mean squares that rows and columns are brought to in turn [Sinkhorn 1964]."""
    squares = x.double().square()
    whole = squares.mean()
    if not whole:
        return torch.full_like(x[:1, :1], unknown)
    rows, columns = torch.ones_like(squares[:, :1]), torch.ones_like(squares[:1])
    for _ in range(10):
        rows = (squares / columns).mean(1, keepdim=True)
        rows = torch.maximum(rows, SMALLEST**2 * rows.mean())
        columns = (squares / rows).mean(0, keepdim=True)
        columns = torch.maximum(columns, SMALLEST**2 * columns.mean())
    return (rows * columns).sqrt().float()


def _known(x: Tensor, unknown: float) -> Tensor:
    return torch.where(x > 0, x, unknown)
