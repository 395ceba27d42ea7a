"""A mixture as data."""

import re
from pathlib import Path
from typing import Any

import pytest

from gaincell.adapt.text import load_mixture
from gaincell.errors import InputError


def a_source(**fields: Any) -> dict[str, Any]:
    given = {"name": "one", "genre": "prose", "kind": "file", "package": "one.zip", "licence": "CC0-1.0", "share": 1.0}
    return {**given, **fields}


MIXTURES = Path(__file__).parents[3] / "docs" / "mixtures"


def test_the_mixture_that_the_shipped_adapter_learned_from_has_the_sources_of_the_default() -> None:
    learned, default = load_mixture(MIXTURES / "real.yaml"), load_mixture()
    assert (learned.own, learned.copied) == (0.0, 0.35)
    pinned = [{(source.name, source.package, source.sha256) for source in one.sources} for one in (learned, default)]
    assert pinned[0] == pinned[1]


def test_the_default_mixture_is_half_own_text_and_of_every_kind() -> None:
    mixture = load_mixture()
    assert mixture.own == 0.5
    assert sum(source.share for source in mixture.sources) == pytest.approx(0.5)
    genres = {"conversation", "encyclopaedia", "how-to", "technical documentation", "science", "source code"}
    assert genres < {source.genre for source in mixture.sources}
    for source in mixture.sources:  # nothing that changes under its name
        assert source.kind == "packaged" or (source.version and source.sha256)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"repeat": 3}, "unknown field 'repeat'; did you mean 'repeats'?"),
        ({"sources": [a_source(licens="x")]}, "unknown field 'sources.0.licens'; did you mean 'licence'?"),
        ({"sources": [a_source(share=0.4)]}, "add up to 0.4 instead of 1"),
        ({"own": 0.5}, "the shares, with 0.5 of own text, add up to 1.5 instead of 1"),
        ({"sources": [a_source(share=0.5), a_source(share=0.5)]}, "two sources are called 'one'"),
        ({"sources": [a_source(kind="pypi", package="x")]}, "a pypi package needs its version and sha256"),
        ({"sources": [a_source(kind="packaged", package="nothing")]}, "there is no packaged text 'nothing'"),
        ({"sources": [a_source(reader="json")]}, "the readers json, csv and chat need fields"),
        ({"sources": [a_source(package="--index-url=x")]}, "package"),
        ({"sources": []}, "sources"),
        ({"filters": {"ascii": 0.9}}, "unknown field 'filters.ascii'; did you mean 'ascii_share'?"),
    ],
)
def test_what_is_no_mixture_is_refused_in_a_sentence(fields: dict[str, Any], said: str, mixture_file: Any) -> None:
    sources = fields.get("sources", [a_source()])
    path = mixture_file(*sources, **{key: value for key, value in fields.items() if key != "sources"})
    with pytest.raises(InputError, match=re.escape(said)):
        load_mixture(path)


def test_shares_may_be_rounded(mixture_file: Any) -> None:
    path = mixture_file(a_source(share=0.3333333), a_source(name="two", share=0.6666666))
    assert len(load_mixture(path).sources) == 2


def test_paths_are_seen_from_the_mixtures_folder(mixture_file: Any, tmp_path: Path) -> None:
    assert load_mixture(mixture_file(a_source())).sources[0].package == str(tmp_path / "one.zip")


def test_a_mixture_that_is_no_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"mixture 'nowhere\.yaml' is no file"):
        load_mixture("nowhere.yaml")


def test_without_a_source_the_others_grow_in_proportion(mixture_file: Any) -> None:
    mixture = load_mixture(
        mixture_file(*(a_source(name=n, share=s) for n, s in zip("abc", (0.1, 0.2, 0.2), strict=True)), own=0.5)
    )
    left = mixture.without({"a"})
    assert left.own == 0.5
    assert [source.share for source in left.sources] == pytest.approx([0.25, 0.25])
    assert left.fingerprint() != mixture.fingerprint()
