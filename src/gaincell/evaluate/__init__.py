"""How well a model does: perplexity on a text."""

from gaincell.evaluate.perplexity import Perplexity, perplexity
from gaincell.evaluate.text import default_text, default_training_text, library, load_text, novel

__all__ = ["Perplexity", "default_text", "default_training_text", "library", "load_text", "novel", "perplexity"]
