"""Small archives of every kind, and tokenizers with and without a token in front of texts."""

import io
import random
import re
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORDS = re.findall(
    r"\w+",
    """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which
    river stone window garden letter winter morning paper bridge market engine kitchen forest number machine teacher
    harbour village mountain question answer station butter sailor captain doctor candle pocket shadow summer island""",
)


def prose(seed: int, words: int = 120) -> str:
    """English-looking text that no other seed gives."""
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words)) + f" number{seed}."


def make_zip(path: Path, files: Mapping[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def tar_bytes(files: Mapping[str, str], mode: str = "w:gz") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return held.getvalue()


def deb_bytes(files: Mapping[str, str]) -> bytes:
    """A Debian package as deb(5) says: an ar archive of a version, a control tar and a data tar."""
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": tar_bytes({}), "data.tar.xz": tar_bytes(files, "w:xz")}
    packed = b"!<arch>\n"
    for name, data in parts.items():
        packed += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        packed += b"\n" * (len(data) % 2)
    return packed


def byte_tokenizer(begins: bool = False, ends: bool = True) -> Any:
    """A token a byte; with a token in front of every text, and one at its end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0, "</s>": 1, **{letter: i + 2 for i, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", **({"eos_token": "</s>"} if ends else {})
    )
