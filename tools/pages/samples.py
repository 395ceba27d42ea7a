"""What the demo model and its shipped adapters say to the same prompts: docs/samples.md.

python -m tools.pages samples
"""

from gaincell.study.models import load_model
from gaincell.study.writing import PROMPTS, write
from tools.pages.markdown import plain, table

MODELS = ("demo", "extended", "leroux2025")
#: The demo's prompts, as questions.
QUESTIONS = (
    "What is the most important thing about the ocean?",
    "Tell me a story about a small village by the mountains.",
    "How do I bake a loaf of bread?",
)
TOKENS, TEMPERATURE, SEED = 60, 0.8, 0


def contents() -> dict[str, str]:
    """Every model goes on from every prompt, greedily and sampled."""
    loaded = {name: load_model(name) for name in MODELS}
    ways = {
        f"{words}, {draw}": (prompts, chat, temperature)
        for words, prompts, chat in (("Plain", PROMPTS, False), ("Chat template", QUESTIONS, True))
        for draw, temperature in (("greedy", 0.0), (f"temperature {TEMPERATURE:g}, seed {SEED}", TEMPERATURE))
    }
    parts = []
    for title, (prompts, chat, temperature) in ways.items():
        rows = []
        for prompt in prompts:
            how = {"max_new_tokens": TOKENS, "temperature": temperature, "seed": SEED, "chat": chat}
            texts = [write(*loaded[name], prompt, **how).text for name in MODELS]
            rows.append([plain(text) or "*nothing*" for text in (prompt, *texts)])
        parts += [f"{title}:", table(("prompt", "original", *(f"`{name}`" for name in MODELS[1:])), rows)]
    return {"samples": "\n{}\n".format("\n\n".join(parts))}
