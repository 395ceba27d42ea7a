"""A model's config.json by the name of its folder, or of a model that was fetched from the hub before."""

import re
from pathlib import Path
from typing import Any

from gaincell.cell.cell import is_file, read_json
from gaincell.errors import InputError


def find_config(name: str, known: str) -> dict[str, Any]:
    """Read a config.json: of a folder, or of a hub's model ('owner/name') in the local cache; nothing is fetched.

    Args:
        name: of the folder or model.
        known: the names that the caller knows beside these, for the message.

    Raises:
        InputError: neither is there, or the file cannot be read.
    """
    folder = Path(name)
    if is_file(folder / "config.json"):
        return read_json(folder / "config.json")
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None and not folder.exists():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(name, "config.json")
        if isinstance(cached, str):
            return read_json(Path(cached))
        raise InputError(
            f"model '{name}' is neither a folder with config.json nor in the hub's local cache; check the path, or "
            f"fetch its config first (hf download {name} config.json)."
        )
    raise InputError(f"model '{name}' is neither one of {known} nor a folder with config.json; check the path.")
