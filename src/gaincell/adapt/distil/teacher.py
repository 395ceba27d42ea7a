"""What the student of distillation is to reproduce: the original model's outputs, computed now or kept on disk."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from gaincell.adapt.distil.step_rows import Share
from gaincell.atomic import written_aside
from gaincell.files import reading
from gaincell.ops.precision import widen, without_autocast

#: Rows of a file of cached outputs.
CACHED_ROWS = 16


@dataclass(frozen=True)
class Lesson:
    """The original's outputs for one share.

    Attributes:
        log_probs: (b, P, k) log-probabilities of next tokens, at the temperature.
        tokens: (b, P, k) which tokens those are; None: the whole vocabulary in order.
        rest: (b, P) log of the probability of all other tokens together; None where there is none.
        hidden: (b, T, hidden) what goes into the LM head; None if it is not compared.
    """

    log_probs: Tensor
    tokens: Tensor | None
    rest: Tensor | None
    hidden: Tensor | None


Teacher = Callable[[Share], Lesson]


class Probe:
    """A model's LM head, asked at some positions only, and the hidden states that go into it.

    The head of a large vocabulary takes as much time as many layers; and it is the model's own code that goes on from
    its output (a scale, a soft cap), whichever model it is.
    """

    def __init__(self) -> None:
        self.positions: Tensor | None = None
        self.hidden: Tensor | None = None

    def __call__(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        """What the head takes in: (b, T, hidden) -> (b, P, hidden)."""
        assert self.positions is not None
        self.hidden = args[0]
        return (args[0].gather(1, self.positions[..., None].expand(-1, -1, args[0].shape[-1])),)

    def ask(self, model: nn.Module, ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (b, P, vocabulary) at `positions` (b, P) and hidden states (b, T, hidden) of token ids (b, T)."""
        self.positions = positions
        logits = model(input_ids=ids, use_cache=False).logits
        hidden, self.hidden = self.hidden, None
        assert hidden is not None
        return logits, hidden


def head_of(model: PreTrainedModel) -> Any:
    """A model's LM head, weight (vocabulary, hidden)."""
    return model.get_output_embeddings()


@contextmanager
def probing(model: PreTrainedModel) -> Iterator[Probe]:
    """Watch a model's LM head for a while."""
    probe = Probe()
    hook = head_of(model).register_forward_pre_hook(probe)
    try:
        yield probe
    finally:
        hook.remove()


def from_model(model: PreTrainedModel, temperature: float) -> Teacher:
    """The original model itself, on the device that it lies on."""

    @torch.no_grad()
    def teach(share: Share) -> Lesson:
        with probing(model) as probe:
            logits, hidden = probe.ask(model, share.ids, share.positions)
        return Lesson((widen(logits) / temperature).log_softmax(-1), None, None, hidden)

    return teach


def from_text(share: Share) -> Lesson:
    """The text's own next tokens, as if they were certain: the divergence from them is the cross-entropy in nats.

    No position may be a row's last.
    """
    tokens = share.ids.gather(1, share.positions + 1)[..., None]
    return Lesson(torch.zeros(tokens.shape, device=tokens.device), tokens, None, None)


def from_cache(folder: Path, numbers: Callable[[int], Tensor]) -> Teacher:
    """What `cache_lessons` kept, read as it is needed.

    Args:
        folder: where it lies.
        numbers: which of the cached rows a step learns on, (B,).
    """

    def teach(share: Share) -> Lesson:
        device = share.ids.device
        parts = [_read(folder, int(n)) for n in numbers(share.step)[share.places.cpu()]]
        with without_autocast(device.type):  # which does not know float16 on a CPU
            log_probs, tokens, rest, hidden = (
                torch.stack([part[name] for part in parts]).to(device)
                for name in ("log_probs", "tokens", "rest", "hidden")
            )
        at = share.positions
        wide = at[..., None].expand(-1, -1, tokens.shape[-1])
        return Lesson(log_probs.gather(1, wide), tokens.gather(1, wide).long(), rest.gather(1, at), hidden.float())

    return teach


@torch.no_grad()
def cache_lessons(
    model: PreTrainedModel,
    ids: Tensor,
    folder: Path,
    *,
    keep: int,
    temperature: float,
    batch: int,
    process: int = 0,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Keep the original's `keep` most likely tokens and last hidden states of ids (N, T), at every position.

    Files that are there already are not computed again, and of several processes each computes its own. A position
    takes 8 bytes a token and 2 a hidden channel (float16, a relative squared error below 1e-6).
    """
    folder.mkdir(parents=True, exist_ok=True)
    keep = min(keep, int(head_of(model).weight.shape[0]))
    starts = range(0, len(ids), CACHED_ROWS)
    with probing(model) as probe:
        for index, start in enumerate(starts):
            path = _file(folder, start)
            if index % processes == process and not path.is_file():
                parts = [
                    _condense(probe, model, part.to(model.device), keep, temperature)
                    for part in ids[start : start + CACHED_ROWS].split(batch)
                ]
                tensors = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
                with written_aside(path) as aside:
                    save_file(tensors, aside)
            if progress is not None:
                progress(index + 1, len(starts))


def _condense(probe: Probe, model: PreTrainedModel, ids: Tensor, keep: int, temperature: float) -> dict[str, Tensor]:
    everywhere = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    logits, hidden = probe.ask(model, ids, everywhere)
    everything = (logits.float() / temperature).log_softmax(-1)
    log_probs, tokens = everything.topk(keep)
    rest = everything.scatter(-1, tokens, -torch.inf).logsumexp(-1)
    return {"log_probs": log_probs, "tokens": tokens.int(), "rest": rest, "hidden": hidden.half()}


def _file(folder: Path, number: int) -> Path:
    return folder / f"rows-{number // CACHED_ROWS * CACHED_ROWS:06d}.safetensors"


def _read(folder: Path, number: int) -> dict[str, Tensor]:
    path = _file(folder, number)
    with reading(path), safe_open(path, framework="pt") as file:
        return {name: file.get_slice(name)[number % CACHED_ROWS] for name in file.keys()}  # noqa: SIM118


def divergence(logits: Tensor, lesson: Lesson, temperature: float) -> Tensor:
    """KL(original || student) of next tokens in nats x temperature^2, mean over positions: (b, P, vocabulary) -> (b,).

    A lesson of k tokens compares k + 1 outcomes, the last being any other token; that is never more than the KL over
    the whole vocabulary, and equal to it at k = vocabulary. The square keeps the gradient's size [Hinton et al. 2015].
    """
    student = widen(logits) / temperature if temperature != 1.0 else widen(logits)
    original = lesson.log_probs
    if lesson.tokens is None:
        kl = _Divergence.apply(student, original)
    else:
        student = student.log_softmax(-1)
        kl = (original.exp() * (original - student.gather(-1, lesson.tokens))).sum(-1)
        if lesson.rest is not None and lesson.tokens.shape[-1] < student.shape[-1]:
            others = student.scatter(-1, lesson.tokens, -torch.inf).logsumexp(-1)
            kl = kl + lesson.rest.exp() * (lesson.rest - others)
    return temperature**2 * kl.mean(-1)


class _Divergence(torch.autograd.Function):
    """KL(original || softmax(logits)) over a whole vocabulary: (..., V), (..., V) -> (...).

    The gradient, softmax(logits) - original, is made in the forward pass, in place: one tensor of that size is kept
    where autograd's own steps would keep or pass through six.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, original: Tensor) -> Tensor:
        student = logits.log_softmax(-1)
        share = original.exp()
        kl = (share * (original - student)).sum(-1)
        ctx.save_for_backward(student.exp_().sub_(share))
        return kl

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * gradients[0][..., None], None


def relative_error(hidden: Tensor, target: Tensor) -> Tensor:
    """Squared error of a row's hidden states (b, T, hidden) over their power, (b,)."""
    target = widen(target)
    return (widen(hidden) - target).square().sum((1, 2)) / target.square().sum((1, 2)).clamp(min=1e-12)
