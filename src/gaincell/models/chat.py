"""A conversation as a model's own chat template writes it."""

from typing import Any

from gaincell.errors import InputError


def apply_chat_template(tokenizer: Any, messages: list[dict[str, str]], **how: Any) -> Any:
    """`tokenizer.apply_chat_template` up to where the answer begins.

    A template is a program that comes with the model's folder; transformers runs it in a sandbox, without access to
    files or Python's own names. Those of models that look at images often take a message in parts (an image, a text)
    and write nothing of one that is a string: a template that does not hear strings is given parts.

    Args:
        tokenizer: with a chat template.
        messages: each with "role" and "content".
        how: options of transformers' function, such as `tokenize`.

    Raises:
        InputError: the template is not valid, raises an error, does what the sandbox does not allow, or writes the same
            whatever the messages say.
    """
    in_parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
    failed = None
    for said in (messages, in_parts):
        try:
            if _hears(tokenizer, said):
                return tokenizer.apply_chat_template(said, add_generation_prompt=True, **how)
        except Exception as error:  # whatever a folder's own program provokes
            failed = failed or error
    if failed is None:
        raise InputError(
            "the model's chat template writes the same whatever is asked; correct it in the model's folder "
            "(chat_template.jinja or tokenizer_config.json), or remove it to do without."
        )
    why = next((line.strip() for line in str(failed).splitlines() if line.strip()), type(failed).__name__)
    raise InputError(
        f"the model's chat template fails ({why.rstrip('.')[:160]}); correct it in the model's folder "
        "(chat_template.jinja or tokenizer_config.json), or remove it to do without."
    ) from failed


def _hears(tokenizer: Any, messages: list[dict[str, Any]]) -> bool:
    """Whether something else in these messages would be written otherwise."""
    others = [{**message, "content": _otherwise(message["content"])} for message in messages]
    one, other = (tokenizer.apply_chat_template(said, tokenize=False) for said in (messages, others))
    return one != other


def _otherwise(content: Any) -> Any:
    if isinstance(content, str):
        return f"Not {content}"
    return [{**part, "text": _otherwise(part["text"])} for part in content]
