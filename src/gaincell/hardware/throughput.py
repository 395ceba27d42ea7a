"""Attention for many users at once: tokens a second, joules a token, and what papers quote per watt and area."""

import math
from dataclasses import dataclass

from gaincell.errors import InputError
from gaincell.hardware.energy import total
from gaincell.hardware.estimation import Estimate, Row

#: What figures of operations count.
OPERATIONS_CAVEAT = (
    "An operation is one multiplication or one addition of the two products, over every column of a full window; "
    "writing, read-out, digital sums and options count as none, though their energy, time and area are in the figures."
)


@dataclass(frozen=True)
class Throughput:
    """What an estimate's arrays give to so many users, each of whom gets a token, or a token of a prompt, in turn.

    Every user has arrays of its own, which work side by side; where fewer pairs are built than one user's heads, all
    users take turns on them, since each token fills them anew.

    Attributes:
        users: sequences that are served.
        shared: whether they take turns on one set of arrays.
        tokens_per_s: tokens that are generated, all users together; a user's next token waits for the one before.
        prompt_tokens_per_s: tokens of prompts that are read, all users together: they follow each other through the
            arrays at the least interval, which is no shorter than a token's time where each fills the arrays anew.
        energy_j: of one token, generated or read.
        area_m2: of all users' arrays.
        chips: that they fill; where one holds several users, each user's arrays are on one.
        users_per_chip: users whose arrays one chip holds; below 1 where those of one user fill several.
        operations: of one token; see `OPERATIONS_CAVEAT`.
        busy_area_m2_s: area times the time that it works for one token, all layers.
    """

    users: int
    shared: bool
    tokens_per_s: float
    prompt_tokens_per_s: float
    energy_j: float
    area_m2: float
    chips: int
    users_per_chip: float
    operations: int
    busy_area_m2_s: float

    @property
    def power_w(self) -> float:
        """While tokens are generated."""
        return self.energy_j * self.tokens_per_s

    def table(self) -> list[Row]:
        """Rows to print."""
        mm2, tera = self.area_m2 * 1e6, 1e-12 * self.operations
        figures = [
            (f"{self.users} users, generating: all tokens", self.tokens_per_s, "1/s"),
            (f"{self.users} users, generating: tokens of one user", self.tokens_per_s / self.users, "1/s"),
            (f"{self.users} users, reading prompts: all tokens", self.prompt_tokens_per_s, "1/s"),
            (f"{self.users} users, generating: power", self.power_w, "W"),
            ("energy, one token", self.energy_j * 1e9, "nJ"),
            ("tokens per second and watt", 1 / self.energy_j, "1/J"),
            ("tokens per second and area", self.tokens_per_s / mm2, "1/(s mm2)"),
            (f"area, {self.users} users", mm2, "mm2"),
            (f"chips, {self.users} users", self.chips, "-"),
            ("users a chip", self.users_per_chip, "-"),
            ("operations, one token", self.operations * 1e-6, "million"),
            ("operations per second and watt", tera / self.energy_j, "TOPS/W"),
            ("operations per second and area, arrays at work", tera / (self.busy_area_m2_s * 1e6), "TOPS/mm2"),
            ("operations per second and area, all, generating", tera * self.tokens_per_s / mm2, "TOPS/mm2"),
        ]
        return [Row(name, value, unit, None, None) for name, value, unit in figures]


def throughput(found: Estimate, users: int) -> Throughput:
    """What the arrays of an estimate give to so many users.

    Raises:
        InputError: fewer than one user, an estimate without energy, or arrays that are enough for one user, but not for
            all, so that it is not said who waits for whom.
    """
    if users < 1:
        raise InputError(f"a batch has 1 user or more, not {users}.")
    if not min(found.energy_j, found.area_m2) > 0:
        raise InputError("the estimate has no energy or no area to divide by; set what its parts take.")
    pairs, built = sum(x.geometry.pairs for x in found.arrays), found.parameters.array_pairs
    shared = built is not None and built < pairs
    if built is not None and pairs <= built < users * pairs:
        raise InputError(
            f"array_pairs {built} are enough for {built // pairs} of {users} users; build {users * pairs} (or leave "
            f"array_pairs out) for a set of arrays each, or fewer than {pairs} for arrays that all use in turn."
        )
    at_once = 1 if shared else users
    area_m2 = at_once * found.area_m2
    # A layer works on as many shared pairs as it has heads for, whatever its share of their area.
    digital_m2 = sum(total(each.area or {}) for each in found.kept)
    working_m2 = [
        (found.area_m2 - digital_m2) * min(1.0, x.geometry.pairs / found.pairs_built) + _digital_m2(found, number)
        if shared
        else total(found.layer_areas[number])
        for number, x in zip(found.numbers, found.arrays, strict=True)
    ]
    working = sum(x.latency_s * area_m2 for x, area_m2 in zip(found.arrays, working_m2, strict=True))
    working += sum(x.latency_s * _digital_m2(found, n) for n, x in enumerate(found.kept) if x.whole)
    held = math.floor(found.parameters.chip_area_m2 / found.area_m2)
    per_chip = float(held) if held else 1 / found.chips
    return Throughput(
        users=users,
        shared=shared,
        tokens_per_s=at_once / found.token_period_s,
        prompt_tokens_per_s=at_once / (len(found.kept) * found.prompt_interval_s),
        energy_j=found.energy_j,
        area_m2=area_m2,
        chips=found.chips if shared else math.ceil(users / per_chip - 1e-9),
        users_per_chip=users / found.chips if shared else per_chip,
        operations=sum(
            2 * x.heads * (x.key_dim + x.value_dim) * x.attends_to(found.config.window)
            for x in found.workload.attending
        ),
        busy_area_m2_s=working,
    )


def _digital_m2(found: Estimate, number: int) -> float:
    """Area of the digital heads of one of the layers that attend."""
    return total(found.kept[number].area or {})
