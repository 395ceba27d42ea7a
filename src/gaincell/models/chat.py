"""A conversation as a model's own chat template writes it."""

from typing import Any

from gaincell.errors import InputError


def apply_chat_template(tokenizer: Any, messages: list[dict[str, str]], **how: Any) -> Any:
    """`tokenizer.apply_chat_template` up to where the answer begins.

    A template is a program that comes with the model's folder; transformers runs it in a sandbox, without access to
    files or Python's own names.

    Args:
        tokenizer: with a chat template.
        messages: each with "role" and "content".
        how: options of transformers' function, such as `tokenize`.

    Raises:
        InputError: the template is not valid, raises an error, or does what the sandbox does not allow.
    """
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, **how)
    except Exception as error:  # whatever a folder's own program provokes
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"the model's chat template fails ({said.rstrip('.')[:160]}); correct it in the model's folder "
            "(chat_template.jinja or tokenizer_config.json), or remove it to do without."
        ) from error
