"""The context-sensitive language."""

from __future__ import annotations

from rnnsearch_languages.anbncn import AnBnCn

SHA256 = "b6e5f27cffe26b97b61d8adc0ea90dfb71df5de32ddc8020919cb0e29bbb893e"


def test_the_default_data_stay_what_they_are() -> None:
    assert AnBnCn().find().sha256 == SHA256


def test_what_is_legal_after_each_prefix_of_aabbcc() -> None:
    assert AnBnCn().legal("aabbcc") == ["a", "ab", "ab", "b", "c", "c", "$"]
    assert AnBnCn().legal("abc") == ["a", "ab", "c", "$"]
