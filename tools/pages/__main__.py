"""Write one part of the pages anew: python -m tools.pages PART [ARGUMENT ...]."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from tools.pages.marks import MARKS, ROOT, filled

#: Those that have pictures alone, beside those that fill marks.
PARTS = sorted({part for marks in MARKS.values() for part in marks.values()} | {"curve", "screenshots"})


def main(arguments: list[str]) -> None:
    """Fill a part's marks, and write its pictures."""
    if not arguments or arguments[0] not in PARTS:
        raise SystemExit(f"usage: python -m tools.pages PART [ARGUMENT ...], a part being one of {', '.join(PARTS)}.")
    name, *rest = arguments
    part = import_module(f"tools.pages.{name}")
    contents: Callable[..., Mapping[str, str]] | None = getattr(part, "contents", None)
    pictures: Callable[..., Mapping[str, Any]] | None = getattr(part, "pictures", None)
    if contents is not None:
        for page, text in filled(name, contents(*rest)).items():
            page.write_text(text, "utf-8")
    if pictures is not None:
        for file, picture in pictures(*rest).items():
            content = picture.encode("utf-8") if isinstance(picture, str) else picture
            (ROOT / "docs" / "images" / file).write_bytes(content)


if __name__ == "__main__":
    main(sys.argv[1:])
