"""The `gaincell` command: thin commands over the library."""

import sys


def main() -> None:
    """Entry point: run the command line and exit with its code (0, 1, 2 or 130)."""
    try:
        from gaincell.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before any command has begun
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)


__all__ = ["main"]
