"""Benchmarks: what the engines gain over the plain ways, measured in one run.

`python -m benchmarks`; the README beside this file explains the protocol.
"""
