"""Which form of the leak a model learns with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

from gaincell.models import HeadScalers


@contextmanager
def leaking(model: nn.Module, form: Literal["cell", "factored"] | None) -> Iterator[None]:
    """Let a converted model, or one layer of it, leak in another form for a while; None: as its design point says.

    A table of retention has no factored form: then it is the exponential one of the cell's time constant that is, and
    without read disturb or refreshes that read, which are tables as well. Nor
    has a cell that decays to elsewhere than its zero, whose charge does not go to nothing: it leaks in its own form.
    """
    scalers = [module for module in model.modules() if isinstance(module, HeadScalers)]
    kept = [each.config for each in scalers]
    try:
        if form is not None:
            for each in scalers:
                if form == "factored" and each.config.cell.retention.ends_at_v:
                    continue
                tabled = each.config.tabled and form == "factored"
                retention = {"retention": "exponential", "read_disturb": "ideal", "refresh": "copy"} if tabled else {}
                each.config = each.config.replace(leak_form=form, **retention)
        yield
    finally:
        for each, config in zip(scalers, kept, strict=True):
            each.config = config
