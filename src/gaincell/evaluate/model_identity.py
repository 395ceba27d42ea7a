"""What tells a model's answers from another's."""

import hashlib
import json

from transformers import PreTrainedModel

from gaincell.models import base_hash, design_point
from gaincell.version import __version__


def identity(model: PreTrainedModel) -> str:
    """A model's weights, scalers included, its design point and this package's version, as one word."""
    point = design_point(model)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    # Defaults are the version's: a field that a design point leaves alone does not make it another one.
    changed = None if point is None else point.model_dump(mode="json", exclude_defaults=True)
    described = [base_hash(model, weights), changed, __version__]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
