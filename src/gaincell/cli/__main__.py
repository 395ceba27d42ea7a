"""`python -m gaincell.cli` is the `gaincell` command."""

from gaincell.cli import main

if __name__ == "__main__":
    main()
