"""docs/models.md says of every family what comes of it here; some of each kind are tried anew."""

from pathlib import Path

import pytest
import transformers
from every_family import FEATURES, known, outcome

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["biogpt", "glm4_moe_lite", "gemma2", "deepseek_v32", "whisper", "diffllama"])
def test_a_family_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    if f"transformers {transformers.__version__}:" not in PAGE or not known(name):
        pytest.skip("the page is of another transformers")
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    found = outcome(name, tmp_path)
    cells = [f"refused: {found}"] if isinstance(found, str) else [(found or {})[feature] for feature in FEATURES]
    assert [cell for cell in (part.strip() for part in row.split("|")[2:]) if cell] == cells
