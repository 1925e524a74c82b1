"""The `rnnsearch` command: runs the command line, and turns errors into messages and exit codes."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
import warnings
from contextlib import ExitStack, redirect_stdout

from rnnsearch.compare.escaping import visible_lines
from rnnsearch.config.secrets import hide
from rnnsearch.errors import PluginError, RnnsearchError


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its code."""
    _settle()
    import click

    from rnnsearch.cli import output, rnnsearch

    is_own_process = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if debug:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("rnnsearch").setLevel(logging.DEBUG)
    try:
        with ExitStack() as stack:
            if "--json" in arguments:
                # Whatever prints, our own code or a plugin's: what is not JSON is not the result.
                stack.callback(output.results.reset, output.results.set(sys.stdout))
                stack.enter_context(redirect_stdout(sys.stderr))
            code = rnnsearch.main(
                arguments, prog_name="rnnsearch", standalone_mode=False, obj=is_own_process
            )
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted", debug)
        code = 130
    except RnnsearchError as error:
        _say(f"error: {error}", debug)
        code = error.exit_code
    except Exception as error:
        plugin_error = _of_a_plugin(error)
        said = plugin_error or f"unexpected {type(error).__name__}: {error}"
        _say(f"error: {said}\nRun it with --debug for details.", debug)
        code = plugin_error.exit_code if plugin_error else 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(problem: str, debug: bool) -> None:
    """Say what went wrong; libraries show the addresses that they were given, passwords too."""
    text = traceback.format_exc() if debug else problem
    print(visible_lines(hide(text)).rstrip("\n"), file=sys.stderr)


def _of_a_plugin(error: Exception) -> PluginError | None:
    """What to say of an exception that the code of a plugin raised; None for our own faults."""
    from rnnsearch.plugin.registry import load_registry

    if not load_registry.cache_info().currsize:
        return None  # no plugin was loaded
    registry = load_registry()
    return PluginError(registry.explain(error)) if registry.culprit(error) else None


def _settle() -> None:
    """Take from the process's surroundings what is meant for others and breaks a command."""
    # No command opens a window; a notebook names a backend that its children may lack.
    os.environ["MPLBACKEND"] = "agg"
    # Libraries warn of each other; `error` for one's own tests is not meant for those.
    if "error" in os.environ.get("PYTHONWARNINGS", ""):
        del os.environ["PYTHONWARNINGS"]  # for Ray's processes
        warnings.simplefilter("ignore")
    if sys.stdout is None:  # closed by the parent process
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, until the process ends
    for stream in (sys.stdout, sys.stderr):
        # What a terminal or a file of few characters cannot show is not worth the command.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
