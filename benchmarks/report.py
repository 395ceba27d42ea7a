"""Measurements as tables, which docs/speed.md shows."""

from collections.abc import Callable
from typing import Any

from benchmarks.timing import Row
from gaincell.report.numbers import number

Column = tuple[str, Callable[[Row], Any]]


def _of(name: str, scale: float = 1.0, digits: int = 3) -> Callable[[Row], str]:
    return lambda row: number(row[name] * scale, digits)


_TIMES: list[Column] = [
    ("median, ms", _of("median_ms")),
    ("minimum, ms", _of("min_ms")),
    ("ratio of medians", _of("ratio_median")),
    ("ratio of minima", _of("ratio_min")),
]
_FORMS: list[Column] = [
    ("tokens", _of("tokens", digits=6)),
    ("form", lambda row: row["name"]),
    *_TIMES,
    ("multiply-adds, G", _of("multiply_adds", 1e-9)),
]

#: By section: its title, and its columns.
SECTIONS: dict[str, tuple[str, list[Column]]] = {
    "forward": ("Forward", _FORMS),
    "backward": ("Forward and backward", _FORMS),
    "decode": (
        "One token against a full window",
        [
            ("form", lambda row: row["name"]),
            *_TIMES,
            ("cache, KiB", _of("cache_bytes", 2**-10, 6)),
            ("kept beside it, KiB", _of("beside_bytes", 2**-10, 6)),
        ],
    ),
    "memory": (
        "Peak memory of one call beyond q, k and v",
        [
            ("tokens", _of("tokens", digits=6)),
            ("heads", _of("heads")),
            ("form", lambda row: row["name"]),
            ("passes", lambda row: row["passes"]),
            ("MiB", _of("extra_bytes", 2**-20)),
            ("times q, k and v", _of("ratio")),
        ],
    ),
    "accuracy": (
        "Read-outs that differ from those of float64 sums",
        [
            ("design point", lambda row: row["point"]),
            ("products", lambda row: row["name"]),
            ("outputs that differ", _of("outputs_flipped")),
            ("sub-tile codes that differ", _of("codes_flipped")),
            ("RMS distance / RMS", _of("rms")),
        ],
    ),
    "rates": (
        "Matrix products of this machine",
        [
            ("shape", lambda row: row["shape"]),
            ("operands", lambda row: row["dtype"]),
            ("median, ms", _of("median_ms")),
            ("multiply-adds, G/s: median", lambda row: number(row["multiply_adds"] / row["median_ms"] / 1e6, 3)),
            ("best", lambda row: number(row["multiply_adds"] / row["min_ms"] / 1e6, 3)),
        ],
    ),
    "generate": (
        "Generating with the demo model",
        [
            ("attention", lambda row: row["name"]),
            ("tokens/s: median", lambda row: number(1e3 * row["new_tokens"] / row["median_ms"], 3)),
            ("best", lambda row: number(1e3 * row["new_tokens"] / row["min_ms"], 3)),
            ("time, ratio of medians", _of("ratio_median")),
            ("ratio of minima", _of("ratio_min")),
        ],
    ),
}


#: The same of a step of adaptation.
STEP: dict[str, tuple[str, list[Column]]] = {
    "step": (
        "One step",
        [
            ("step", lambda row: row["name"]),
            ("median, CPU s", _of("median_s")),
            ("minimum, CPU s", _of("min_s")),
            ("over the plain step: medians", _of("ratio_median")),
            ("minima", _of("ratio_min")),
        ],
    ),
    "parts": (
        "Where the time of a step of `distill` goes",
        [
            ("part", lambda row: row["part"]),
            ("share, %", _of("share", 100.0, 2)),
        ],
    ),
    "peak": (
        "Peak memory of a process that takes steps",
        [
            ("step", lambda row: row["name"]),
            ("GB", _of("peak_bytes", 1e-9)),
        ],
    ),
}


def table(section: str, rows: list[Row]) -> str:
    """One section in Markdown."""
    title, columns = (SECTIONS | STEP)[section]
    lines = [[name for name, _ in columns], ["---"] * len(columns)]
    lines += [[str(cell(row)) for _, cell in columns] for row in rows]
    return "\n".join((f"{title}:", "", *(f"| {' | '.join(line)} |" for line in lines)))


def tables(record: dict[str, Any]) -> str:
    """One machine's record in Markdown."""
    machine, versions, settings = record["machine"], record["versions"], record["settings"]
    units = {True: ", with matrix units", False: ", without matrix units", None: ""}[machine["matrix_units"]]
    family = f" (family {machine['family']})".replace(" (family None)", "") if "family" in machine else ""
    cpu = f"{machine['cpu']}{family}{units}, {machine['cores']} cores, {settings['threads']} threads"
    heading = f"### {machine['gpu'] or cpu}"
    software = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
    if "heads" in settings:
        heads = f"{settings['heads']} heads of {settings['head_dim']}, window {settings['window']:,}"
        about = f"{heads}, batch 1, float32 where nothing else is said"
    else:
        about = f"one row of {settings['tokens']:,} tokens"
    facts = f"{record['date'][:10]}; {about}; {software}. `{record['command']}`"
    return "\n\n".join((heading, facts, *(table(name, rows) for name, rows in record["results"].items())))
