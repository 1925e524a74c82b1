"""The `rnnsearch` command: runs the command line, and turns errors into messages and exit codes."""

from __future__ import annotations

import sys

from rnnsearch.errors import RnnsearchError


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    import click

    from rnnsearch.cli import rnnsearch

    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        code = rnnsearch.main(arguments, prog_name="rnnsearch", standalone_mode=False)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if debug:
            raise
        print("interrupted", file=sys.stderr)
        code = 130
    except RnnsearchError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except Exception as error:
        if debug:
            raise
        name = type(error).__name__
        print(
            f"error: unexpected {name}: {error}\nRun it with --debug for details.", file=sys.stderr
        )
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
