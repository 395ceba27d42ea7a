"""What the panel is: texts of many kinds that nothing is learned from."""

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources

from gaincell.evaluate.text import default_text, novel

#: Characters at the start of a long packaged text that are the panel's.
_START = 45_000


@dataclass(frozen=True)
class Genre:
    """A text of the panel.

    Attributes:
        name: in files and tables.
        title: in words.
        sha256: of the text in UTF-8.
    """

    name: str
    title: str
    sha256: str

    def text(self) -> str:
        """The text; where it comes from stands in data/README.md."""
        if self.name == "speeches":
            return "\n\n".join(default_text().split("\n\n")[:2])
        if self.name == "novel":
            whole = novel()
            return whole[: whole.index("\n\n", _START)]
        packed = (resources.files("gaincell.evaluate.panel") / "data" / f"{self.name}.txt.gz").read_bytes()
        return gzip.decompress(packed).decode("utf-8")


#: In the order in which they are measured and shown.
GENRES = (
    Genre("speeches", "speeches", "7df003c2cd554edaafb149fb9a17de158f69cef23ed0182d9ba82bc650063624"),
    Genre("novel", "a novel", "e64accdace8126c70f3f892060af8e54aa2ab91670df13d4c850fa61aa60a0df"),
    Genre("encyclopaedia", "an encyclopaedia", "5b97bb0116a6f137394226dad889bb527308b130ccf450c90eb4006ea54f1744"),
    Genre("technical", "technical documentation", "488f22d8cb70f16c22c3fae5f6e17ce044b7fba42c6ee1bdeb23b905dcd27efe"),
    Genre("how-to", "how-to", "97f2eaf1882354612088a26e3df6dacbd3e0da8985d3c1071a19f7ae8ab7a165"),
    Genre("conversation", "conversation", "d223e511fdaf9da596f7f022c9e2e56546ff5ecb88a8f16a00a353d0baa60b63"),
    Genre("code", "source code", "5ebdbf35d2a28c97db4d1162b14068fa2780aa8badca8e62d9c982b1f73b6ba6"),
    Genre("science", "science", "cfdb3ba544f766af75677efc7cade042cb222b9ba735fad927c4b82c1882c12d"),
    Genre("own", "written by the original model", "dcc23b38edabfbc1ec22f263e7f7bbc1a0f8ef8f1723b378db164a92ddef9d9d"),
)


def panel_hash() -> str:
    """One word that changes with any of the panel's texts."""
    return hashlib.sha256("".join(genre.sha256 for genre in GENRES).encode()).hexdigest()[:16]
