"""`python -m helpers`: the command `cookbook` without an installation."""

import sys


def run() -> int:
    """As `helpers.cli.main`; Ctrl-C while that is imported is one line too."""
    try:
        from helpers.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(run())
