"""A mixture of texts as data: which sources, which share of each, and how their documents are cut."""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gaincell.cell.cell import is_file, read_text, read_yaml
from gaincell.errors import InputError, one_sentence
from gaincell.evaluate.text import TO_LEARN

#: How far from 1 the shares may add up.
TOLERANCE = 1e-6


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filters(_Data):
    """What is no text to learn from; the thresholds are ours, set by looking at what they leave out.

    Attributes:
        ascii_share: of the characters that must be ASCII, at least.
        stop_words: of the words that must be English stop words, at least.
        repeated_lines: of a document's lines that may repeat others of it.
        common_lines: a line in more than this share of a source's HTML pages is a menu's or a footer's.
        near: of a document's windows; more of them in earlier documents make it a near duplicate.
    """

    ascii_share: float = Field(default=0.85, ge=0, le=1)
    stop_words: float = Field(default=0.12, ge=0, le=1)
    repeated_lines: float = Field(default=0.3, ge=0, le=1)
    common_lines: float = Field(default=0.1, gt=0, le=1)
    near: float = Field(default=0.5, gt=0, le=1)


class Source(_Data):
    """One source of documents.

    Attributes:
        name: what it is called in messages and tables.
        genre: what kind of text it is.
        kind: where it comes from: a wheel that pip fetches, a package of npm or Debian, a file of the user's, or a
            text that gaincell comes with.
        package: the package's name; of a file its path, from the mixture's own folder; or the packaged text's name.
        version: the package's version.
        sha256: of the archive as it is fetched; of a file it may be left out.
        licence: of the text.
        share: of the tokens of the mixture.
        files: patterns of the files in the archive, as of a shell, where "*" stands for "/" as well.
        without: patterns of those among them that are left out.
        reader: how documents are cut from a file.
        fields: of the readers "json", "csv" and "chat": what of a record belongs to its document, in this order.
        language: "english" leaves out what is not; "any" is for source code.
        shortest: characters of a document, at least.
        longest: characters of a document, at most.
        longer: longer ones are cut between paragraphs, or dropped.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    genre: str = Field(min_length=1)
    kind: Literal["pypi", "npm", "debian", "file", "packaged"]
    package: str = Field(pattern=r"^[^-\s].*$")
    version: str | None = Field(None, pattern=r"^[\w.:+~-]+$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    licence: str = Field(min_length=1)
    share: float = Field(gt=0, le=1)
    files: tuple[str, ...] = ("*",)
    without: tuple[str, ...] = ()
    reader: Literal["text", "html", "json", "csv", "chat", "docstrings", "source"] = "text"
    fields: tuple[str, ...] = ()
    language: Literal["english", "any"] = "english"
    shortest: int = Field(200, ge=1)
    longest: int = Field(100_000, ge=100)
    longer: Literal["cut", "drop"] = "cut"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        fetched = self.kind in ("pypi", "npm", "debian")
        if fetched and (self.version is None or self.sha256 is None):
            raise ValueError(f"a {self.kind} package needs its version and sha256")
        if self.kind == "packaged" and self.package not in TO_LEARN:
            raise ValueError(f"there is no packaged text '{self.package}' to learn from, but {', '.join(TO_LEARN)}")
        if (self.reader in ("json", "csv", "chat")) != bool(self.fields):
            raise ValueError("the readers json, csv and chat need fields, and no other reader has any")
        return self


class Mixture(_Data):
    """A mixture of texts, as a mixture file (YAML) describes it.

    Attributes:
        own: share of text that the model writes itself.
        sources: the others; all shares add up to 1.
        repeats: how often the text of a source may be met that has fewer tokens than its share takes.
        copied: share of the sources' rows in which a passage comes a second time, see `gaincell.adapt.text.copied`.
        filters: what is left out.
    """

    own: float = Field(0.5, ge=0, lt=1)
    repeats: int = Field(4, ge=1)
    copied: float = Field(0.0, ge=0, le=1)
    filters: Filters = Filters()
    sources: tuple[Source, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sources are called '{twice[0]}'")
        total = self.own + sum(source.share for source in self.sources)
        if abs(total - 1) > TOLERANCE:
            raise ValueError(f"the shares, with {self.own:g} of own text, add up to {total:.6g} instead of 1")
        return self

    def fingerprint(self) -> str:
        """A short checksum of all that it says."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]

    def without(self, names: set[str]) -> "Mixture":
        """The mixture without some sources: the others' shares grow in proportion, own text's stays."""
        left = [source for source in self.sources if source.name not in names]
        scale = (1 - self.own) / sum(source.share for source in left)
        sources = tuple(source.model_copy(update={"share": source.share * scale}) for source in left)
        return self.model_copy(update={"sources": sources})


def load_mixture(name_or_path: str | Path = "mixture") -> Mixture:
    """The default mixture ("mixture"), or one's own in a YAML file; paths in it are seen from that file's folder.

    Raises:
        InputError: no such file, unknown fields, shares that do not add up to 1.
    """
    path = Path(name_or_path)
    if str(name_or_path) == "mixture":
        text = (resources.files("gaincell.adapt.text") / "mixture.yaml").read_text("utf-8")
        return _parse(text, "the default mixture", Path())
    if not is_file(path):
        raise InputError(f"mixture '{path}' is no file; check the path, or take the default one by 'mixture'.")
    return _parse(read_text(path), f"mixture {path}", path.parent)


def _parse(text: str, where: str, folder: Path) -> Mixture:
    data: dict[str, Any] = read_yaml(text, where)
    try:
        found = Mixture(**data)
    except ValidationError as error:
        place = error.errors(include_url=False)[0]["loc"]
        part = {"sources": Source, "filters": Filters}.get(str(place[0]) if len(place) > 1 else "", Mixture)
        raise one_sentence(error, where, part.model_fields) from None
    local = {source.name: str(folder / source.package) for source in found.sources if source.kind == "file"}
    sources = tuple(
        source.model_copy(update={"package": local[source.name]}) if source.name in local else source
        for source in found.sources
    )
    return found.model_copy(update={"sources": sources})
