"""Text to learn from that somebody else wrote: a file, or a data set."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaincell.cell.cell import is_file
from gaincell.errors import InputError
from gaincell.evaluate.text import TO_LEARN, load_text


def load_source(source: str | Path, *, characters: int = 10_000_000, split: str = "train") -> str:
    """The text of a UTF-8 file, or of a data set of the package `datasets`: on disk, or by its name on the hub.

    Args:
        source: a file; "packaged" for `default_training_text`, "library" for that and eight books; a folder of
            `save_to_disk`; or a name, "owner/name" or "owner/name:configuration", of which no more is read than needed.
        characters: how much of a data set to take, at least; a file is taken whole.
        split: which part of a data set.

    Raises:
        InputError: no such file or data set, `datasets` is not installed, or nothing in it is text.
    """
    parts: list[str] = []
    size = 0
    for document in read_documents(source, split=split):
        parts.append(document)
        size += len(document) + 2
        if size >= characters:
            break
    text = "\n\n".join(part for part in parts if part.strip())
    if not text:
        raise InputError(f"data set '{source}' holds no text in its split '{split}'; choose another.")
    return text


def read_documents(source: str | Path, *, split: str = "train") -> Iterator[str]:
    """The texts of a data set one after the other, as they are asked for; a file is one text.

    Args:
        source: as in `load_source`.
        split: which part of a data set.

    Raises:
        InputError: no such file or data set, or `datasets` is not installed.
    """
    path, name = Path(source), str(source)
    if is_file(path):
        yield load_text(path)
        return
    if name in TO_LEARN:
        yield TO_LEARN[name]()
        return
    if find_spec("datasets") is None:
        raise InputError(
            f"text '{name}' is no file; if it is a data set, install the package 'datasets' (pip install "
            "'gaincell[data]'), else check the path."
        )
    try:
        rows = _open(path, name, split)
        column = _text_column(rows, name)
        for row in rows:
            if row[column]:
                yield row[column]
    except InputError:
        raise
    except Exception as error:  # whatever data sets, their formats and the hub provoke
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"text '{name}' is no file, nor a data set that can be read ({first:.160}).") from error


def load_tokens(path: Path) -> Tensor:
    """Token ids (N, T) in a .npy file, which stays on disk: rows are read as they are needed.

    Raises:
        InputError: no such file, or none of rows of whole numbers.
    """
    try:
        ids = np.load(path, mmap_mode="c", allow_pickle=False)
        whole = not isinstance(ids, np.memmap) or path.stat().st_size == ids.offset + ids.nbytes
    except MemoryError:
        raise
    except Exception as error:  # numpy reads the header as Python: any error of its tokenizer
        raise InputError(f"token file {path} is no .npy file ({error!s:.100}); check the path.") from None
    if not isinstance(ids, np.ndarray) or ids.ndim != 2 or ids.dtype not in (np.int32, np.int64):
        raise InputError(f"token file {path} must hold rows of token ids, as int32 or int64 of shape (N, T).")
    if not whole:
        raise InputError(f"token file {path} is damaged: it holds more than its header says; make it again.")
    return torch.from_numpy(ids)


def _open(path: Path, name: str, split: str) -> Any:
    datasets = import_module("datasets")
    if not path.is_dir():
        owner, _, configuration = name.partition(":")
        return datasets.load_dataset(owner, configuration or None, split=split, streaming=True)
    found = datasets.load_from_disk(name)
    if not isinstance(found, dict):
        return found
    if split not in found:
        raise InputError(f"data set '{name}' has no split '{split}', but {', '.join(found)}.")
    return found[split]


def _text_column(rows: Any, name: str) -> str:
    """The column "text", or else the first one of strings."""
    first = next(iter(rows), {})
    columns = [column for column, value in first.items() if isinstance(value, str)]
    if not columns:
        raise InputError(f"data set '{name}' has no column of text; choose another.")
    return "text" if "text" in columns else columns[0]
