"""What an estimate reads from a config is what conversion serves: heads, key/value heads, windows, in every layer."""

import pytest
from every_family import build, known
from model_cases import CONFIG, FAMILIES, unconverted
from transformers import PreTrainedModel

import gaincell
from gaincell.hardware import read_workload
from gaincell.models import scalers_of

#: Families whose layers are of several kinds, or have heads under other names than most.
OTHERS = ["deepseek_v3", "gpt_bigcode", "gpt_oss", "jamba", "mimo_v2_flash", "minimax_m2", "nemotron_h", "qwen3_next"]


def check(model: PreTrainedModel) -> None:
    read = [(x.heads, x.kv_heads, x.attends_to(CONFIG.window)) for x in read_workload(model.config).attending]
    gaincell.convert_(model, CONFIG)
    served = [(x.heads, x.kv_heads, x.config.window) for x in scalers_of(model).values()]
    assert read == served


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_those_that_are_served(family: str) -> None:
    check(unconverted(family))


# Older transformers script a function of GPTBigCode's, which today's torch warns of.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("family", OTHERS)
def test_layers_of_other_families_are_too(family: str) -> None:
    if not known(family):
        pytest.skip(f"the installed transformers has no {family}")
    check(build(family))
