"""The one exception that means "this input cannot be used", told in one sentence."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_LONGEST, _WORD, _END = 300, 100, 48
_short = reprlib.Repr()  # bounded work, however large or nested the value
_short.maxlevel, _short.maxstring = 3, 60


class InputError(ValueError):
    """Unusable input: what was wrong, where, and what to do, in one sentence.

    The command line turns it into that sentence and exit code 2. Always one line of 300 characters at most, whatever a
    file or path contained: of a longer one the middle is left out, of long words first, not what to do at its end.
    """

    def __init__(self, sentence: str) -> None:
        words = sentence.split()
        if sum(map(len, words)) + len(words) > _LONGEST:
            words = [word if len(word) <= _WORD else f"{word[:_END]}...{word[-_END:]}" for word in words]
        line = " ".join(words)
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[5 - _LONGEST // 2 :]}")


def one_sentence(error: "ValidationError", where: str, known: Iterable[str] = ()) -> InputError:
    """The first complaint of a pydantic validation as a single sentence about `where`, whose fields are `known`."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        names = list(known)
        last = {name.rpartition(".")[2]: name for name in names}
        close = difflib.get_close_matches(field, [name for name in names if not field.startswith(f"{name}.")], 1)
        close += [last[name] for name in difflib.get_close_matches(field.rpartition(".")[2], last, 1)]
        advice = f"did you mean '{close[0]}'?" if close else "remove it or correct its name."
        return InputError(f"{where}: unknown field '{field}'; {advice}")
    if first["type"] == "missing":
        return InputError(f"{where}: field '{field}' is missing; add it.")
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if not field:
        return InputError(f"{where}: {message}.")
    given = _short.repr(first["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    return InputError(f"{where}: field '{field}' is {given}: {message[0].lower()}{message[1:]}.")
