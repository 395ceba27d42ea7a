"""Sources with small archives behind them, and mixture files of such."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from text_archives import make_zip


@pytest.fixture
def source(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A source's fields, with a zip of documents behind it."""

    def make(name: str, share: float, documents: list[str], **fields: Any) -> dict[str, Any]:
        make_zip(tmp_path / f"{name}.zip", {f"{i:04d}.txt": text for i, text in enumerate(documents)})
        given = {"name": name, "genre": "prose", "kind": "file", "package": f"{name}.zip", "licence": "CC0-1.0"}
        return {**given, "share": share, **fields}

    return make


@pytest.fixture
def mixture_file(tmp_path: Path) -> Callable[..., Path]:
    """A mixture file of these fields."""

    def make(*sources: dict[str, Any], **fields: Any) -> Path:
        path = tmp_path / "my.yaml"
        path.write_text(yaml.safe_dump({"own": 0.0, **fields, "sources": list(sources)}), "utf-8")
        return path

    return make
