"""The command line as a whole: its commands, and how each ends."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gaincell.cli import screen
from gaincell.cli.adapt import adapt
from gaincell.cli.characterize import characterize
from gaincell.cli.circuit import circuit
from gaincell.cli.cost import cost
from gaincell.cli.demo import demo
from gaincell.cli.doctor import doctor
from gaincell.cli.evaluate import evaluate
from gaincell.cli.explore import explore
from gaincell.cli.fit import fit
from gaincell.cli.generate import generate
from gaincell.cli.measure import measure_gpu
from gaincell.cli.report import report
from gaincell.cli.reproduce import reproduce
from gaincell.errors import InputError
from gaincell.version import __version__

#: Commands that go on where they stopped.
RESUMABLE = ("adapt", "demo", "explore", "report", "reproduce")

_COMMANDS = {
    demo: "gaincell demo --quick",
    adapt: "gaincell adapt demo --config extended --out runs/a",
    generate: 'gaincell generate "The ship had been at sea for" --model runs/a/model',
    evaluate: "gaincell evaluate demo --config leroux2025 --tokens 2048",
    report: "gaincell report extended",
    cost: "gaincell cost gpt2 --config leroux2025",
    explore: "gaincell explore extended --vary output_levels=16,32,64 --vary subtile_columns=64:1024",
    measure_gpu: "gaincell measure-gpu --out gpu.json",
    reproduce: "gaincell reproduce fig5",
    characterize: "gaincell characterize --card generic --out my_cell.yaml",
    fit: "gaincell fit data.csv --tau 5ms --out my_cell.yaml",
    doctor: "gaincell doctor --model runs/a/model",
}

app = typer.Typer(
    name="gaincell",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Example: gaincell demo --quick",
)
for _command, _example in _COMMANDS.items():
    app.command(epilog=f"Example: {_example}")(_command)
app.add_typer(circuit)


def _print_version(wanted: bool) -> None:
    if wanted:
        screen.show(f"gaincell {__version__}")
        raise typer.Exit


@app.callback()
def _gaincell(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Transformer attention computed in analog gain-cell memory."""


#: click's exception for bad usage and the like; some versions of typer carry click inside themselves.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever is foreseeable is told in one sentence on stderr.

    0 done; 1 failed while running (disk full, no convergence); 2 unusable input; 130 interrupted. An exception that
    nobody foresaw is a bug, and passes through.
    """
    screen.prepare()
    try:
        code = _invoke(list(args))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        resumable = next((arg for arg in args if not arg.startswith("-")), "") in RESUMABLE
        screen.say("interrupted; run the same command to resume" if resumable else "interrupted")
        return 130
    except InputError as error:
        return _fail(str(error), 2)
    except IndexError as error:
        if "index out of range in self" not in str(error):  # torch, of an embedding
            raise
        return _fail("the tokenizer has tokens that the model lacks; it belongs to another model.", 2)
    except BrokenPipeError:  # the reader of our output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        sentence = _running_failure(error)
        if sentence is None:
            raise
        return _fail(sentence, 1)


def _invoke(args: list[str]) -> int:
    for arg in args:
        if not arg.isascii() and any("\udc80" <= letter <= "\udcff" for letter in arg):  # bytes Python could not decode
            raise InputError(f"{ascii(arg)[:80]} is not UTF-8 text; check the terminal's encoding, or the file's name.")
    # typer's own main() words usage errors over several lines and hides Ctrl-C from us
    command = typer.main.get_command(app)
    try:
        with command.make_context("gaincell", args or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except _UsageError as error:
        path = getattr(getattr(error, "ctx", None), "command_path", "gaincell")
        message = str(error.format_message()).replace("Value error, ", "").rstrip(".")  # pyright: ignore[reportAttributeAccessIssue]
        raise InputError(f"{message}{'' if message.endswith('?') else ';'} see '{path} --help'.") from None
    return 0


def _fail(sentence: str, code: int) -> int:
    screen.say(f"error: {sentence}")
    return code


def _running_failure(error: Exception) -> str | None:
    """One sentence for what can go wrong through no fault of the program's, None for anything else."""
    text = " ".join(str(error).split())
    if _is_disk_full(error, text):
        where = f" for {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return f"no space left on the disk{where}; free some and run the same command again."
    if type(error).__module__ == "gaincell.circuit.errors":  # not imported: most commands simulate no circuit
        return text
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or text}{where}."
    memory = ("can't allocate memory", "not enough memory", "out of memory")
    if isinstance(error, MemoryError) or any(phrase in text.lower() for phrase in memory):
        return "not enough memory; use a smaller model, or shorter and fewer rows."
    return None


def _is_disk_full(error: Exception, text: str) -> bool:
    if isinstance(error, OSError):
        return error.errno in _DISK_FULL
    # safetensors words the operating system's error in an exception of its own
    return type(error).__name__ == "SafetensorError" and any(f"(os error {code})" in text for code in _DISK_FULL)
