"""What every test runs under."""

import os
from typing import Any

import pytest
from hypothesis import settings

# torch reads it when it is first imported. One thread: sums come out the same everywhere, and the tests' small tensors
# are many times faster where other work shares the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Without a GPU Triton's kernels run in its interpreter; it reads this when it is first imported, which the conftest of
# a folder below may do, through transformers, before any hook of pytest's is called.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The same examples on every run; `pytest --hypothesis-profile=thorough` looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("ci")

#: What workers counted, where there are any.
COUNTED: dict[str, Any] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Of pytest-xdist: a worker has ended, or died without a word."""
    COUNTED.update(getattr(node, "workeroutput", {}).get("counted", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for what, result in COUNTED.items():
        terminalreporter.write_line(f"{what}: {result}")
