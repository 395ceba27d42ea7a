"""Measurements as tables; fill docs/speed.md from files: python -m benchmarks.report benchmarks/results/*.json."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.timing import Row
from gaincell.report.numbers import number

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
BEGIN, END = "<!-- benchmark:attention -->", "<!-- /benchmark -->"

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


def table(section: str, rows: list[Row]) -> str:
    """One section in Markdown."""
    title, columns = SECTIONS[section]
    lines = [[name for name, _ in columns], ["---"] * len(columns)]
    lines += [[str(cell(row)) for _, cell in columns] for row in rows]
    return "\n".join((f"{title}:", "", *(f"| {' | '.join(line)} |" for line in lines)))


def tables(record: dict[str, Any]) -> str:
    """One machine's record in Markdown."""
    machine, versions, settings = record["machine"], record["versions"], record["settings"]
    units = {True: ", with matrix units", False: ", without matrix units", None: ""}[machine["matrix_units"]]
    cpu = f"{machine['cpu']}{units}, {machine['cores']} cores, {settings['threads']} threads"
    heading = f"### {machine['gpu'] or cpu}"
    software = ", ".join(f"{package} {version}" for package, version in versions.items() if version)
    facts = (
        f"{record['date'][:10]}; {settings['heads']} heads of {settings['head_dim']}, window {settings['window']:,}, "
        f"batch 1, float32 where nothing else is said; {software}. `{record['command']}`"
    )
    return "\n\n".join((heading, facts, *(table(name, rows) for name, rows in record["results"].items())))


def main(paths: list[str]) -> None:
    """Put the tables of every file between the page's marks."""
    text = PAGE.read_text("utf-8")
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not paths or not begun or not ended:
        raise SystemExit(f"usage: python -m benchmarks.report PATH.json ...; {PAGE} needs {BEGIN} ... {END}")
    content = "\n\n".join(tables(json.loads(Path(path).read_text("utf-8"))) for path in paths)
    PAGE.write_text(f"{before}{BEGIN}\n{content}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
