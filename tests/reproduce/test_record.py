"""What runs of `gaincell adapt` reached is kept run after run, each on the tokens of those before it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tools.record_reproduction import curves

BATCH, LENGTH = 2, 512

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run's folder with a newest checkpoint and what was measured, by the step."""

    def write(name: str, newest: int, measured: dict[int, float], tokens: int = 4096) -> str:
        folder = tmp_path / name
        (folder / "distill").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"settings": {"length": LENGTH}}))
        settings = {"distill_batch": BATCH, "distill_validate_tokens": tokens}
        (folder / "distill" / "config.json").write_text(json.dumps({"settings": settings}))
        (folder / "distill" / f"step-{newest:08d}.safetensors").touch()
        lines = [{"stage": "distill", "tokens": 0, "loss": 1.0}]
        lines += [{"tokens": step * BATCH * LENGTH, "perplexity": found} for step, found in measured.items()]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(folder)

    return write


def test_a_run_goes_on_from_the_checkpoint_of_the_one_before(run: Run) -> None:
    stopped = run("a", 25, {0: 60.0, 20: 30.0, 40: 28.0})  # step 40 came after the checkpoint: nobody went on from it
    then = run("b", 50, {0: 29.0, 50: 24.0})
    both = curves([stopped, then], None)
    tokens = BATCH * LENGTH
    assert both["points"] == [(0, 60.0), (20 * tokens, 30.0), (25 * tokens, 29.0), (75 * tokens, 24.0)]
    assert (both["length"], both["tokens"]) == (LENGTH, 4096)


def test_a_record_goes_on_as_the_runs_do(run: Run) -> None:
    first, then = run("a", 50, {0: 60.0, 50: 30.0}), run("b", 10, {0: 30.1, 10: 29.0})
    kept = json.loads(json.dumps(curves([first], None)))
    assert curves([then], kept) == curves([first, then], None)


def test_what_was_measured_otherwise_does_not_go_on(run: Run) -> None:
    kept = curves([run("a", 50, {50: 30.0})], None)
    other = run("b", 50, {50: 20.0}, tokens=8192)
    with pytest.raises(SystemExit, match="other tokens"):
        curves([other], kept)
