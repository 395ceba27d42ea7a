"""One thread; says at the end how many instances were compared."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from ops_cases import MEASURED, TRIED


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and wait long for each other where other work fills the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist prints nothing itself; tests/conftest.py does."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counted"] = {**TRIED, **MEASURED}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for what, result in {**TRIED, **MEASURED}.items():
        terminalreporter.write_line(f"{what}: {result}")
