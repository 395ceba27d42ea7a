"""Where the harness's local task files get their items: `task.yaml` names a function here."""

from functools import partial

from datasets import Dataset

from gaincell.evaluate.tasks.items import load_items


def _items(task: str, **_: object) -> dict[str, Dataset]:
    return {"test": Dataset.from_list(load_items(task))}


hellaswag = partial(_items, "hellaswag")
piqa = partial(_items, "piqa")
arc_easy = partial(_items, "arc_easy")
arc_challenge = partial(_items, "arc_challenge")
winogrande = partial(_items, "winogrande")
lambada = partial(_items, "lambada")
