"""The front between what a model can still do at a design point and what that costs, searched by many workers."""

from gaincell.explore.dominance import front, hypervolumes, knee, lacks
from gaincell.explore.opening import begin, join
from gaincell.explore.picking import pick
from gaincell.explore.point import Point
from gaincell.explore.space import Space
from gaincell.explore.study import Study

__all__ = ["Point", "Space", "Study", "begin", "front", "hypervolumes", "join", "knee", "lacks", "pick"]
