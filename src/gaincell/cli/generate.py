"""`gaincell generate`."""

import dataclasses
from typing import Annotated, Any

import typer

from gaincell.cli import options, screen
from gaincell.errors import InputError


def generate(
    prompt: Annotated[str, typer.Argument(help="Words to go on from.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(help="A model folder; 'demo': the demo model as it was; or an adapter of it, by name or file."),
    ] = "extended",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write at most.")] = 64,
    temperature: Annotated[float, typer.Option(min=0.0, max=100.0, help="0: always the likeliest token.")] = 0.0,
    seed: options.Seed = 0,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt as a question into the chat template.")] = False,
    digital: options.Digital = None,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Let a model write.

    An adapted model attends in gain cells.
    """
    if not prompt.strip():
        raise InputError("the prompt is empty; give some words to go on from.")
    options.check_device(device)
    network, tokenizer = options.load_model(model, device, digital)
    from gaincell.study.writing import write

    written = write(
        network,
        tokenizer,
        prompt,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        chat=chat,
        streamer=None if json else _streamer(tokenizer, show_prompt=not chat),
    )
    if json:
        screen.show_json(
            {"model": model, "attention": written.attention, "prompt": prompt, **dataclasses.asdict(written)}
        )
        return
    speed = written.tokens / written.seconds
    screen.say(f"{model}, attention: {written.attention}; {written.tokens} tokens, {speed:.1f} tokens/s")
    bf16 = f"{written.bf16_cache_bytes_per_token:,.0f}"
    if written.cache_bytes_per_token is None:
        screen.say(f"a bfloat16 cache takes {bf16} bytes per token")
    else:
        screen.say(f"cache: {written.cache_bytes_per_token:,.0f} bytes per token (bfloat16: {bf16})")


def _streamer(tokenizer: Any, show_prompt: bool) -> Any:
    """Prints text as it is written."""
    from transformers import TextStreamer

    return TextStreamer(tokenizer, skip_prompt=not show_prompt, skip_special_tokens=True)
