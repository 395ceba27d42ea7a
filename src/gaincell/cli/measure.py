"""`gaincell measure-gpu`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError


def measure_gpu(
    out: Annotated[Path, typer.Option("--out", help="The JSON file to write.")],
    window: Annotated[int, typer.Option("--window", min=1, help="Tokens in the key/value cache.")] = 1024,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long to measure each batch size.")] = 10.0,
    json: options.Json = False,
) -> None:
    """Measure attention on this GPU.

    Time and energy of one GPT-2 layer's attention (12 heads x 64), one token over a full cache, batch 1 and 64.
    """
    from gaincell.atomic import written_aside
    from gaincell.hardware.measure_gpu import measure_attention
    from gaincell.report.numbers import number

    if out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file.")
    options.check_out(out.parent)
    found = measure_attention(window=window, seconds=seconds)
    with written_aside(out) as aside:
        aside.write_text(found.to_json(), "utf-8")
    if json:
        screen.show_json(asdict(found))
        return
    rows = [
        (str(b.batch), number(b.latency_s * 1e6), number(b.latency_s / b.batch * 1e6), number(b.energy_j * 1e6))
        for b in found.batches
    ]
    columns = ("batch", "step, µs", "per token, µs", "energy per token, µJ")
    screen.show_table(columns, rows, f"Attention of one GPT-2 layer on {found.device}, window {window}, bfloat16")
    screen.show(f"idle power {number(found.idle_power_w)} W, included; energy from {found.energy_source}; in {out}")
