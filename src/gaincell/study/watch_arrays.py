"""What a text makes a model's arrays do."""

from typing import TYPE_CHECKING

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware.named import NamedModel
from gaincell.progress import Listener, Silence
from gaincell.study.models import Load, load_model

if TYPE_CHECKING:
    from gaincell.hardware import Activity

#: Tokens of a text that the arrays are watched on, at most: what they show takes memory with the square of it.
WATCHED = 1024


def watch_arrays(
    model: NamedModel,
    text: str,
    config: GainCellConfig,
    load: Load = load_model,
    listener: Listener | None = None,
) -> "Activity":
    """Run a model on a text, and say what its arrays do at a design point.

    Args:
        model: which; one that is not converted to the design point is.
        text: "speeches", "novel", or a UTF-8 text file; its first tokens are read, as many as the window holds.
        config: the design point.
        load: gives a model and its tokenizer by name.
        listener: whom to tell.

    Raises:
        InputError: a shape without weights, or a model or text that cannot be read or does not fit.
    """
    if model.loads is None:
        raise InputError(
            f"activity (--activity) is of a model that runs, but '{model.name}' is a shape without weights; name a "
            "model folder or a shipped adapter."
        )
    import torch

    from gaincell.evaluate import load_text
    from gaincell.evaluate.perplexity import encode
    from gaincell.evaluate.text_prefix import prefix_of

    words = load_text(text)
    network, tokenizer = load(model.loads)
    from gaincell.models import attention_activity, convert_, design_point

    if design_point(network) != config:
        convert_(network, config)
    ids = (prefix_of(tokenizer) + encode(tokenizer, words, WATCHED))[: min(WATCHED, config.window)]
    (listener or Silence()).say(f"watching the arrays over {len(ids)} tokens of '{text}'")
    return attention_activity(network, torch.tensor([ids]), f"{len(ids)} tokens of '{text}'")
