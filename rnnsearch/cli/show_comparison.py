"""A finished study and its comparison, as the terminal shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnsearch.cli.output import browse, echo, show_table
from rnnsearch.cli.show_plan import print_source

if TYPE_CHECKING:
    from rnnsearch.compare.comparison import Comparison
    from rnnsearch.study.run import StudyResult


def print_result(result: StudyResult, name: str) -> None:
    """Print what a finished study leaves; fails where a confirmation is missing."""
    from rnnsearch.records.store import StudyStore

    print_comparison(result.comparison)
    echo("")
    for path in result.files:
        echo(f"written   {path}")
    echo(f"recorded  {result.tracking_uri}")
    info = StudyStore.open(name).info
    echo(f"next      {browse(name, info.tracking_uri, info.experiment_id)}")
    _require_confirmed(result.comparison)
    if result.left_out:
        from rnnsearch.errors import BrokenPluginError

        raise BrokenPluginError(
            f"left out, as it cannot run: {'; '.join(result.left_out.values())}"
        )


def _require_confirmed(comparison: Comparison) -> None:
    from rnnsearch.errors import TrialsFailedError

    short = [row.name for row in comparison.rows if row.place is None or row.failed_seeds]
    if short:
        msg = (
            f"not every confirmation ran to its end: {', '.join(short)}. "
            f"`rnnsearch study show {comparison.study}` gives the reasons"
        )
        raise TrialsFailedError(msg)


def print_comparison(comparison: Comparison) -> None:
    """Print the report's tables of results, cost and effort, and what to bear in mind."""
    from rnnsearch.compare.ledger import describe_time
    from rnnsearch.report.tables import make_tables

    echo(f"\n{comparison.study}: {comparison.budget_parameters:,} parameters\n")
    tables = {table.name: table for table in make_tables(comparison, {})}
    show_table(tables["results"])
    echo(tables["results"].note)
    for name in ("complexity", "effort"):
        echo("")
        show_table(tables[name])
    for phase in comparison.time:
        echo(describe_time(phase))
    echo("")
    echo(comparison.headline)
    print_source(comparison.source)
    for caveat in comparison.caveats:
        if comparison.source.caveat and comparison.source.caveat in caveat:
            continue  # said with the source
        echo(f"note  {caveat}")
