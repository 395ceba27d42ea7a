"""Counts what damaged, contended and shared files and models do: `python tests/campaign/faults.py` (some minutes).

- Every file of a finished run of `gaincell adapt`, its checkpoints and cached lessons among them, is damaged in every
  way; the same command goes on from each. Counted: told in one sentence, gone on to the same weights or to others,
  tracebacks.
- One bit of an adapter is flipped, at places drawn all over the file; it is loaded each time.
- Processes save a model to one folder, over and over; whatever lies there afterwards has to load.
- Threads generate on one model; each has to get what it gets alone.
"""

import contextlib
import io
import multiprocessing
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import torch

from gaincell.cli.app import run
from gaincell.cli.screen import quiet_transformers
from gaincell.errors import InputError
from gaincell.models import convert_, load_adapter, save_adapter
from gaincell.models.load import load_model, save_model

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from command_tools import TEXT, save_tiny

FLIPS, WRITERS, SAVES, THREADS = 240, 8, 100, 8

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "no UTF-8": lambda content: b"\xff\xfe" + content,
    "a list": lambda content: b"[1, 2]\n",
    "a number": lambda content: b"7\n",
    "an object": lambda content: b"{}\n",
    "nested": lambda content: b"[" * 100_000 + b"\n",
    "flipped": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
}


def adapt(model: Path, out: Path) -> tuple[int | str, str]:
    """Adapt, or go on; the exit code, or the exception that came through, and what was said on stderr."""
    settings = (
        "rows=4",
        "length=24",
        "transfer.steps=1",
        "distill.tokens=192",
        "distill.positions=4",
        "held_back=1",
    )
    more = ("distill.teacher=cached", "distill.checkpoint_every=1", "distill.batch=4")
    given = [word for setting in (*settings, *more) for word in ("--set", setting)]
    stages = ["--stages", "statistics,transfer,distill", "--text", str(model / "words.txt")]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code: int | str = run(["adapt", str(model), "--out", str(out), *stages, *given])
        except Exception as error:
            code = f"{type(error).__name__}: {error}"[:120]
    return code, said.getvalue()


def damaged_runs(folder: Path, model: Path) -> int:
    """The first part; the number of tracebacks and of runs that went on to other weights."""
    whole, spoiled, counts = folder / "run", folder / "spoiled", Counter[str]()
    assert adapt(model, whole)[0] == 0
    expected = (whole / "model" / "model.safetensors").read_bytes()
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file() and path.name != ".lock"]
    # The model that a run ends with is written anew, from what comes before it.
    for name in (name for name in files if name.parts[0] != "model"):
        for damage, change in DAMAGES.items():
            shutil.rmtree(spoiled, ignore_errors=True)
            shutil.copytree(whole, spoiled)
            (spoiled / name).write_bytes(change((whole / name).read_bytes()))
            code, said = adapt(model, spoiled)
            if code == 0:
                same = (spoiled / "model" / "model.safetensors").read_bytes() == expected
                what = "gone on to the same weights" if same else "gone on to OTHER weights"
            elif code == 2 and sum(line.startswith("error: ") for line in said.splitlines()) == 1:
                what = "told in one sentence"
            else:
                what = "TRACEBACK or more than a sentence"
            counts[what] += 1
            if what.split()[0] == "TRACEBACK" or "OTHER" in what:
                print(f"{name}, {damage}: {what} ({code})", file=sys.stderr)
    print(f"damaged run folders: {counts.total()}; " + "; ".join(f"{what}: {n}" for what, n in counts.most_common()))
    return sum(n for what, n in counts.items() if any(word.isupper() and len(word) > 1 for word in what.split()))


def flipped_adapters(folder: Path, model: Path) -> int:
    """The second part; the number of flips that were loaded without a word."""
    adapted, file, silent = convert_(load_model(model)[0], "extended"), folder / "adapter.safetensors", 0
    save_adapter(adapted, load_model(model)[0], file)
    whole, generator = file.read_bytes(), torch.Generator().manual_seed(0)
    for place in torch.randint(len(whole), (FLIPS,), generator=generator).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        file.write_bytes(changed)
        try:
            load_adapter(load_model(model)[0], file)
            silent += 1
        except InputError:
            pass
    print(f"adapters with one flipped bit: {FLIPS}; loaded in silence: {silent}")
    return silent


def save_often(model: Path, out: Path) -> int:
    """Save so many times; how often it failed."""
    converted, tokenizer = load_model(model)
    failed = 0
    for _ in range(SAVES):
        try:
            save_model(converted, tokenizer, out)
        except Exception as error:
            print(f"a save failed: {error!r}", file=sys.stderr)
            failed += 1
    return failed


def concurrent_saves(folder: Path, model: Path) -> int:
    """The third part; the number of saves that failed."""
    out = folder / "saved"
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
        failed = sum(pool.map(save_often, [model] * WRITERS, [out] * WRITERS))
    load_model(out)
    left = [path.name for path in folder.iterdir() if path.name.endswith(".part")]
    print(f"saves by {WRITERS} processes: {WRITERS * SAVES}; failed: {failed}; files left beside: {len(left)}")
    return failed + len(left)


def threads(model: Path) -> int:
    """The fourth part; the number of threads that got something else than alone."""
    converted = convert_(load_model(model)[0], "extended").eval()
    rows = [torch.arange(2, 8 + 3 * number)[None] for number in range(THREADS)]

    def write(ids: torch.Tensor) -> torch.Tensor:
        options = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 1, "eos_token_id": None}
        return torch.cat([converted.generate(ids, **options)[0] for _ in range(4)])

    alone = [write(ids) for ids in rows]
    sys.setswitchinterval(1e-4)  # threads meet in every layer
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(write, rows))
    other = sum(not torch.equal(a, b) for a, b in zip(alone, together, strict=True))
    print(f"threads on one model: {THREADS}; other answers than alone: {other}")
    return other


def main() -> int:
    """Print the counts; 1 where anything went wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "tiny"
        save_tiny(model)
        quiet_transformers()
        (model / "words.txt").write_text(TEXT, "utf-8")
        wrong = threads(model) + flipped_adapters(folder, model)
        return int(wrong + damaged_runs(folder, model) + concurrent_saves(folder, model) > 0)


if __name__ == "__main__":
    raise SystemExit(main())
