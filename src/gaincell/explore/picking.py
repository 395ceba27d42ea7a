"""One point of a front, by a word or by a condition."""

import re
from collections.abc import Sequence

from gaincell.errors import InputError
from gaincell.explore.dominance import front, knee
from gaincell.explore.point import FIGURES, Point, check_figure

_SIGNS = {"<": "below", "<=": "at-most", ">": "above", ">=": "at-least"}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=?|>=?)\s*([^\s<>=]+)\s*")


def check_pick(word: str, *, runs: bool = True) -> None:
    """Refuse what picks no point.

    Args:
        word: see `pick`.
        runs: whether a model runs, so that there is quality to ask for.

    Raises:
        InputError: neither "knee" nor a condition on a figure that points have.
    """
    for name, *_ in [] if word == "knee" else _conditions(word):
        check_figure("--pick", name, runs)


def why_empty(points: Sequence[Point]) -> str:
    """Why there is no front, in one sentence without its end."""
    there = [point for point in points if point.refused is None]
    if not points:
        return "there is no point yet"
    if not there:
        return f"none of {len(points)} design points can be had"
    return f"none of the {len(there)} design points that can be had keeps all limits"


def pick(points: Sequence[Point], objectives: Sequence[str], word: str) -> Point:
    """A point of the front.

    Args:
        points: of a study.
        objectives: the front's.
        word: "knee" (see `dominance.knee`), or conditions such as "energy_j<2e-9", several with a comma between: of the
            points of the front that meet them all, the one with the least of the first objective that no condition is
            on; where every one has a condition, of the first.

    Raises:
        InputError: no such condition, no front yet, or no point of it that meets it.
    """
    check_pick(word)
    best = front(points, objectives)
    if not best:
        advice = "ask for wider limits, or for more points" if points else "let the study find some first"
        raise InputError(f"--pick {word}: {why_empty(points)}; {advice}.")
    if word == "knee":
        found = knee(best, objectives)
        assert found is not None
        return found
    conditions = _conditions(word)
    met = [x for x in best if all(_holds(x.figures.get(name), sign, bound) for name, sign, bound in conditions)]
    if not met:
        raise InputError(f"--pick '{word}': none of the {len(best)} points of the front meets it; loosen it.")
    on = {name for name, *_ in conditions}
    least = next((name for name in objectives if name not in on), objectives[0])
    return min(met, key=lambda point: (point.figures[least], point.number))


def file_stem(word: str) -> str:
    """What the files of a pick are called, less their endings: those of other conditions are called otherwise.

    Raises:
        InputError: as `check_pick`.
    """
    if word == "knee":
        return word
    return "-and-".join(f"{name}-{_SIGNS[sign]}-{bound!r}" for name, sign, bound in _conditions(word))


def _conditions(word: str) -> list[tuple[str, str, float]]:
    found = []
    for part in word.split(","):
        match = _CONDITION.fullmatch(part)
        if match is None or match[1] not in FIGURES:
            raise InputError(
                f"--pick '{word}' is neither 'knee' nor a condition such as 'energy_j<2e-6' on one of "
                f"{', '.join(FIGURES)}."
            )
        try:
            found.append((match[1], match[2], float(match[3])))
        except ValueError:
            raise InputError(f"--pick '{word}': '{match[3]}' is no number; write it as in energy_j<2e-6.") from None
    return found


def _holds(figure: float | None, sign: str, bound: float) -> bool:
    if figure is None:
        return False
    return {"<": figure < bound, "<=": figure <= bound, ">": figure > bound, ">=": figure >= bound}[sign]
