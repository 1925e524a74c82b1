"""Formal languages for rnnsearch: counting, nesting, regular grammars."""
