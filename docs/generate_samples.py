"""Write what the demo model and its shipped adapters say to the same prompts into docs/adaptation.md.

python docs/generate_samples.py
"""

from generate_results import ROOT, cell, fill

from gaincell.cli.options import load_model
from gaincell.cli.writing import PROMPTS, write

MODELS = ("demo", "extended", "leroux2025")
#: The demo's prompts, as questions.
QUESTIONS = (
    "What is the most important thing about the ocean?",
    "Tell me a story about a small village by the mountains.",
    "How do I bake a loaf of bread?",
)
TOKENS, TEMPERATURE, SEED = 60, 0.8, 0


def main() -> None:
    """Let every model go on from every prompt, greedily and sampled."""
    loaded = {name: load_model(name) for name in MODELS}
    ways = {
        f"{words}, {draw}": (prompts, chat, temperature)
        for words, prompts, chat in (("Plain", PROMPTS, False), ("Chat template", QUESTIONS, True))
        for draw, temperature in (("greedy", 0.0), (f"temperature {TEMPERATURE:g}, seed {SEED}", TEMPERATURE))
    }
    lines: list[str] = []
    for title, (prompts, chat, temperature) in ways.items():
        lines += [f"\n{title}:\n", "| prompt | original | `extended` | `leroux2025` |", "| --- | --- | --- | --- |"]
        for prompt in prompts:
            how = {"max_new_tokens": TOKENS, "temperature": temperature, "seed": SEED, "chat": chat}
            texts = [write(*loaded[name], prompt, **how).text for name in MODELS]
            lines.append(f"| {' | '.join(cell(text) or '*nothing*' for text in (prompt, *texts))} |")
    page = ROOT / "docs" / "adaptation.md"
    page.write_text(fill(page.read_text("utf-8"), "samples", "\n".join(lines) + "\n"), "utf-8")


if __name__ == "__main__":
    main()
