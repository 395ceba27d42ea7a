"""Documents that are read from files, and those that are left out."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from text_archives import make_zip, prose

from gaincell.adapt.text.clean import (
    Cleaner,
    evaluation_texts,
    pieces,
    shares_with,
    without_common_lines,
    without_licence,
)
from gaincell.adapt.text.mixture import Filters, Source, load_mixture
from gaincell.adapt.text.readers import documents, html_text
from gaincell.adapt.text.rows import read_source
from gaincell.errors import InputError


def source(**fields: Any) -> Source:
    given = {"name": "one", "genre": "prose", "kind": "file", "package": "one", "licence": "CC0-1.0", "share": 1.0}
    return Source(**{**given, **fields})


def reason(text: str, **fields: Any) -> str:
    counts: Counter[str] = Counter()
    Cleaner(Filters(), lambda _: False)(text, source(**fields), counts)
    (found,) = counts
    return found


GERMAN = (
    "Der Fluss entspringt in den Bergen und fliesst nach Norden, wo er sich mit einem zweiten vereinigt; an seinen "
    "Ufern liegen kleine Orte, deren Bewohner vom Fischfang leben und im Winter Holz schlagen."
)
FRENCH = (
    "La ville est situee au bord de la mer, et ses habitants vivent de la peche et du commerce depuis des siecles ; on "
    "y trouve encore les maisons anciennes que les marchands avaient construites pour leurs familles."
)
ENGLISH = (
    "The river rises in the mountains and flows to the north, where it meets another one; on its banks there are small "
    "villages, whose people live by fishing and cut wood in the winter, which they sell when the spring has come."
)
RUSSIAN = "Река берёт начало в горах и течёт на север, где сливается с другой рекой. " * 4


def test_other_languages_go_and_english_stays() -> None:
    assert reason(ENGLISH) == "kept"
    for text in (GERMAN, FRENCH, RUSSIAN):
        assert reason(text, shortest=100) == "other language"
        assert reason(text, shortest=100, language="any") == "kept"


def test_too_short_too_long_and_what_repeats_itself_goes() -> None:
    assert reason("The end.") == "too short"
    assert reason(prose(0, 5000), longest=8000) == "too long"
    assert reason("\n".join([prose(1), *["this is the same line that is said to be it"] * 20])) == "repeats itself"
    assert reason("." * 300, language="any") == "no words"


def test_a_document_comes_once_in_whatever_form_and_near_ones_too() -> None:
    cleaner, counts = Cleaner(Filters(), lambda _: False), Counter()
    text = prose(3, 400)
    assert cleaner(text, source(), counts) == text
    assert cleaner(text.upper().replace(" ", "  "), source(), counts) is None
    assert cleaner(text.replace("number3.", "and so on, and so on for a while"), source(), counts) is None
    words = text.split()
    assert cleaner(" ".join([*words[:100], *prose(4, 300).split()]), source(), counts) is not None  # a quotation only
    assert counts == {"kept": 2, "duplicate": 2}


def test_nothing_that_is_scored_on_is_learned_from() -> None:
    scored = shares_with(evaluation_texts())
    for text in evaluation_texts():
        middle = text[len(text) // 2 :][:600]
        assert scored(middle)
        assert scored(prose(5) + " " + middle.lower().replace("\n", " ") + prose(6))
    assert not scored(prose(5, 2000))
    assert not shares_with([])(prose(5))


def test_licences_go_and_the_rest_stays() -> None:
    code = "# Copyright 2020 The Authors.\n#\n# Licensed under the Apache License\n\nimport os\n\n\nx = os.name"
    assert without_licence(code) == "import os\n\n\nx = os.name"
    assert without_licence(ENGLISH) == ENGLISH


def test_lines_that_many_pages_have_go() -> None:
    pages = [f"Home About\nPage {i}\nonly here {i}" for i in range(40)]
    assert without_common_lines(pages, Filters())[7] == "Page 7\nonly here 7"
    assert without_common_lines(pages[:3], Filters()) == pages[:3]


def test_long_documents_are_cut_between_paragraphs_or_dropped() -> None:
    text = "\n\n".join(prose(i, 50) for i in range(40))
    parts = list(pieces(text, source(longest=2000)))
    assert all(len(part) <= 2000 for part in parts)
    assert "\n\n".join(parts) == text
    assert min(map(len, parts)) > 300
    assert list(pieces(text, source(longest=2000, longer="drop"))) == []
    unbroken = "x" * 5000
    assert "".join(part.replace("\n\n", "") for part in pieces(unbroken, source(longest=2000))) == unbroken


def read(name: str, data: str, **fields: Any) -> list[str]:
    return list(documents(source(**fields), name, data.encode()))


def test_html_is_read_as_its_text() -> None:
    page = (
        "<html><head><title>no</title><style>p {}</style></head><body><nav>Home<p>About</nav><h1>Rivers &amp; seas</h1>"
        "<div class='x toc'><a>1. Contents</a></div><p>They\n  flow <b>north</b>.<p>And on.<ul><li>one<li>two</ul>"
        "<pre>a\n  b</pre><script>alert(1)</script><footer>bye</footer></body></html>"
    )
    assert html_text(page) == "Rivers & seas\n\nThey flow north.\n\nAnd on.\n\none\ntwo\n\na\n  b"


def test_records_of_json_csv_and_chats() -> None:
    records = json.dumps({"x": {"title": "T", "steps": ["a", "b"], "none": None}})
    assert read("r.json", records, reader="json", fields=("title", "steps", "none")) == ["T\n\na\nb"]
    assert read("r.jsonl", '{"t": "a"}\n{"t": "b"}\n', reader="json", fields=("t",)) == ["a", "b"]
    assert read("r.csv", "t,u\nhello,1\n", reader="csv", fields=("t",)) == ["hello"]
    said = [[{"text": "Hi", "sender": "7"}, {"text": "you", "sender": "7"}], [{"text": "Oh", "sender": "9"}]]
    assert read("c.json", json.dumps([{"m": said}]), reader="chat", fields=("m",)) == ["A: Hi you\nB: Oh"]
    for name, data, reader in (("r.json", "{", "json"), ("r.json", records, "json"), ("r.csv", "t\n1\n", "csv")):
        with pytest.raises(InputError, match=r"source 'one'.*r\.(json|csv)"):
            read(name, data, reader=reader, fields=("title", "absent"))


def test_python_is_parsed_and_never_run(tmp_path: Path) -> None:
    trap = f'"""What it says."""\nfrom pathlib import Path\nPath({str(tmp_path / "ran")!r}).touch()\n'
    archive = make_zip(tmp_path / "p.whl", {"setup.py": trap, "p/__init__.py": trap, "p/bad.py": "def ("})
    for reader in ("docstrings", "source"):
        given = source(package=str(archive), reader=reader, language="any", files=("*.py",), shortest=1)
        found = read_source(given, archive, load_mixture())
        assert len(found) == 2
        assert found[0] == ("What it says." if reader == "docstrings" else trap.rstrip("\n") + "\n")
    assert not (tmp_path / "ran").exists()
