"""Numbers of a design swept: every choice is the estimate of a design that has them."""

from gaincell.config import GainCellConfig
from gaincell.errors import InputError
from gaincell.hardware import GPT2, HardwareParameters, estimate
from gaincell.hardware.sweep import numbers_of, sweep

PAPER = GainCellConfig.named("leroux2025")


def test_every_choice_is_the_estimate_of_such_a_design_or_says_why_there_is_none() -> None:
    found = sweep({"window": [1024, 8192], "clock_hz": [1e9, 2e9]}, GPT2, PAPER, HardwareParameters())
    assert [str(choice) for choice in found] == [
        "window 1024, clock_hz 1e+09",
        "window 1024, clock_hz 2e+09",
        "window 8192, clock_hz 1e+09",
        "window 8192, clock_hz 2e+09",
    ]
    assert found[1].found == estimate(GPT2, PAPER, HardwareParameters(clock_hz=2e9))
    assert all(isinstance(choice.found, InputError) for choice in found[2:])


def test_numbers_are_of_the_design_point_and_of_the_hardware() -> None:
    numbers = numbers_of(PAPER, HardwareParameters())
    assert numbers["window"] == PAPER.window
    assert numbers["clock_hz"] == HardwareParameters().clock_hz
    assert not {"cell", "equalisation", "components", "array_pairs"} & numbers.keys()
