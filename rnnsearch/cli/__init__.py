"""The command line: noun, then verb. Each noun is a module; heavy imports wait inside the verbs."""

from __future__ import annotations

import click

from rnnsearch.cli.architecture import architecture
from rnnsearch.cli.data import data
from rnnsearch.cli.plugin import plugin
from rnnsearch.cli.study import study
from rnnsearch.cli.task import task
from rnnsearch.cli.trial import trial
from rnnsearch.cli.ui import ui
from rnnsearch.config.home import require_temporary_folder

_EXIT_CODES = """\b
Exit codes: 0 success, 1 failure, 2 usage or environment, 3 study file, 4 failed trials,
5 budget, 6 plugin, 7 data, 8 tracking server, 9 study store, 130 interrupted."""


@click.group(epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="rnnsearch")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def rnnsearch(debug: bool) -> None:
    """Which recurrent cell is best on my task, at the same number of parameters?

    Begin with: rnnsearch study start studies/mnist.yaml
    """
    require_temporary_folder()


for _noun in (study, trial, architecture, task, plugin, data, ui):
    rnnsearch.add_command(_noun)

__all__ = ["rnnsearch"]
