"""What this plugin adds to rnnsearch."""

from __future__ import annotations

from rnnsearch import hookimpl


@hookimpl
def rnnsearch_tasks() -> dict[str, str]:
    """The formal languages."""
    return {
        "anbn": "rnnsearch_languages.anbn:AnBn",
        "anbncn": "rnnsearch_languages.anbncn:AnBnCn",
        "dyck": "rnnsearch_languages.dyck:Dyck",
        "palindrome": "rnnsearch_languages.palindrome:Palindrome",
        "tomita": "rnnsearch_languages.tomita:Tomita",
        "embedded_reber": "rnnsearch_languages.embedded_reber:EmbeddedReber",
    }
