"""Output of a comparison: it can be read back, and holds any text."""

from __future__ import annotations

import csv
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from rnnsearch.errors import StoreError
from rnnsearch.report.tables import make_tables

from ..trial_records import (
    GOOD,
    POOR,
    SOURCE,
    comparison,
    confirmed,
    record,
    searched,
)


class TestOutput:
    records = (
        *confirmed("gru", GOOD),
        *confirmed("elman", POOR),
        record("snn", state="FAIL", reason="loss | became nan"),
        *searched("gru", 2),
    )

    def test_dictionary_is_json_without_nan(self) -> None:
        result = comparison(self.records, no_skill=math.nan)
        read = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert read["no_skill"] is None
        assert read["winner"] == "gru"
        assert [row["name"] for row in read["rows"]] == ["gru", "elman", "snn"]
        assert read["rows"][0]["values"] == GOOD
        assert read["rows"][1]["verdict"] == "worse"
        assert 0 < read["rows"][1]["standing"]["p"] < 0.05
        assert read["rows"][2]["median"] is None
        assert read["ledger"][0]["search"]["complete"] == 2
        assert read["source"]["sizes"]["train"] == 55_000

    def test_dictionary_takes_any_mapping_of_sizes(self) -> None:
        source = replace(SOURCE, sizes=MappingProxyType({"train": 3}))
        assert comparison(self.records, source=source).to_dict()["source"] == {
            "dataset": "MNIST",
            "origin": "cache",
            "location": "/data/mnist.npz",
            "sha256": "0f" * 32,
            "sizes": {"train": 3},
            "caveat": "",
        }

    def test_dataframe_has_a_line_per_row_and_numbers_in_its_columns(self) -> None:
        table = comparison(self.records).to_dataframe()
        assert list(table["name"]) == ["gru", "elman", "snn"]
        assert list(table["place"].dropna()) == [1, 2]
        assert str(table["parameters"].dtype) == "Int64"
        assert table["mean"].dtype == float
        assert math.isnan(table["mean"][2])
        assert table["values"][0] == tuple(GOOD)

    def test_dataframe_of_nothing_has_the_same_columns(self) -> None:
        empty, full = comparison([]).to_dataframe(), comparison(self.records).to_dataframe()
        assert len(empty) == 0
        assert list(empty.columns) == list(full.columns)

    def test_csv_reads_back(self, tmp_path: Path) -> None:
        result = comparison(self.records)
        result.write_csv(tmp_path / "comparison.csv")
        with (tmp_path / "comparison.csv").open(newline="", encoding="utf-8") as file:
            first, second, third = csv.DictReader(file)
        assert list(first) == list(result.to_dataframe().columns)
        assert float(first["mean"]) == result.rows[0].mean
        assert [float(value) for value in first["values"].split()] == GOOD
        assert float(first["median"]) == result.rows[0].median
        standing = result.rows[1].standing
        assert standing is not None
        assert (float(second["p"]), float(second["ahead"])) == (standing.p, standing.ahead)
        assert (third["mean"], third["reason"]) == ("", "1 confirmation failed: loss | became nan")

    def test_an_interrupted_csv_leaves_the_old_one(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "comparison.csv"
        path.write_text("old")

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(StoreError, match=r"cannot write .*csv: No space left on device"):
            comparison(self.records).write_csv(path)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_that_is_missing_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot write .*absent.*No such file"):
            comparison(self.records).write_csv(tmp_path / "absent" / "comparison.csv")

    def test_its_tables_have_ranking_and_effort(self) -> None:
        tables = {table.name: table for table in make_tables(comparison(self.records), {})}
        ranking = tables["results"].to_markdown().splitlines()
        assert any(line.startswith("| 1 | gru | 0.9635 [") for line in ranking)
        assert any(line.startswith("| 2 | elman | 0.7675 [") for line in ranking)
        effort = tables["effort"].to_markdown().splitlines()
        assert "| gru | search | 2 | 0 | 0 | 4 | 400 | 8.0 |" in effort

    def test_a_bar_in_a_name_does_not_break_the_table(self) -> None:
        text = make_tables(comparison(confirmed("a|b", [0.9])), {})[0].to_markdown()
        table = text.splitlines()
        cells = {line.replace("\\|", "").count("|") for line in table[:3]}
        assert len(cells) == 1
        assert "a\\|b" in table[2]

    def test_a_comparison_of_nothing_says_so(self) -> None:
        assert "nothing is ranked" in comparison([]).headline
