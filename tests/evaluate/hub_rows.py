"""The hub's data sets of the paper's tasks, in small: same names, splits and columns, made-up rows."""

from typing import Any

_ARC = [
    {
        "id": f"made-up-{n}",
        "question": f"Which of these is number {n}?",
        "choices": {"text": ["one", "two", "three", "four"], "label": labels},
        "answerKey": labels[n],
    }
    for n, labels in enumerate((["A", "B", "C", "D"], ["1", "2", "3", "4"], ["A", "B", "C", "D"]))
]
_WINOGRANDE = [
    {
        "sentence": "The cat fled from the dog because the _ was afraid.",
        "option1": "cat",
        "option2": "dog",
        "answer": "1",
    },
    {"sentence": "The dog chased the cat because the _ was bored.", "option1": "cat", "option2": "dog", "answer": "2"},
    {"sentence": "The jug went into the box, so the _ was large.", "option1": "jug", "option2": "box", "answer": "2"},
]
_HELLASWAG = [
    {
        "ind": n,
        "activity_label": "Baking",
        "ctx_a": "[header] How to bake [title] A man opens an oven.",
        "ctx_b": "he",
        "ctx": "[header] How to bake [title] A man opens an oven. he",
        "endings": ["takes a loaf out.", "sings  to it.", "[step] flies away.", "sleeps in it."],
        "source_id": "made-up",
        "split": "val",
        "split_type": "indomain",
        "label": str(n),
    }
    for n in range(3)
]
_LAMBADA = [{"text": f"He looked for his hat, and on the shelf {n} lay the hat"} for n in range(3)]
_PIQA = [{"goal": f"Open jar {n}.", "sol1": "Turn the lid.", "sol2": "Eat the lid.", "label": n % 2} for n in range(3)]
#: The second is longer than the tiny model has positions for.
_WIKITEXT = [
    {"page": " = A cat = \n \n The cat , a small animal , weighs 4 @.@ 5 kg ( 10 lb ) . \n"},
    {"page": " = A dog = \n \n " + "The dog 's bark was heard by 1 @,@ 000 people ; it was loud . " * 40 + "\n"},
    {"page": " = A mouse = \n \n " + 'They called it " the mouse " , and it was quiet . ' * 3 + "\n"},
]

ROWS: dict[tuple[str, str | None], dict[str, list[dict[str, Any]]]] = {
    ("allenai/ai2_arc", "ARC-Easy"): {"train": _ARC[:1], "validation": _ARC[:1], "test": _ARC},
    ("allenai/ai2_arc", "ARC-Challenge"): {"train": _ARC[:1], "validation": _ARC[:1], "test": _ARC[::-1]},
    ("allenai/winogrande", "winogrande_xl"): {"train": _WINOGRANDE[:1], "validation": _WINOGRANDE},
    ("Rowan/hellaswag", None): {"train": _HELLASWAG[:1], "validation": _HELLASWAG},
    ("EleutherAI/lambada_openai", "default"): {"test": _LAMBADA},
    ("baber/piqa", None): {"train": _PIQA[:1], "validation": _PIQA},
    ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"): {
        "train": _WIKITEXT[:1],
        "validation": _WIKITEXT[:1],
        "test": _WIKITEXT,
    },
}


def load_dataset(path: str, name: str | None = None) -> Any:
    """In place of `datasets.load_dataset`; of another data set, configuration or option it knows nothing."""
    from datasets import Dataset, DatasetDict

    return DatasetDict({split: Dataset.from_list(rows) for split, rows in ROWS[path, name].items()})
