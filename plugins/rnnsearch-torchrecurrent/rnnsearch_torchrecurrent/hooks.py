"""What this plugin adds to rnnsearch: nothing if torchrecurrent is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from rnnsearch import hookimpl

CELLS = (
    "AntisymmetricRNNCell",
    "ATRCell",
    "BRCell",
    "CFNCell",
    "coRNNCell",
    "DSGUCell",
    "FastGRNNCell",
    "FastRNNCell",
    "GatedAntisymmetricRNNCell",
    "IndRNNCell",
    "IntersectionRNNCell",
    "JANETCell",
    "LEMCell",
    "LightRUCell",
    "LiGRUCell",
    "MCLSTMCell",
    "MGUCell",
    "MinimalRNNCell",
    "MiRU1Cell",
    "MiRU2Cell",
    "MultiplicativeLSTMCell",
    "MUT1Cell",
    "MUT2Cell",
    "MUT3Cell",
    "NASCell",
    "NBRCell",
    "OriginalLSTMCell",
    "PeepholeLSTMCell",
    "RANCell",
    "ResLSTMCell",
    "SCRNCell",
    "SGRNCell",
    "SGUCell",
    "STARCell",
    "tauGRUCell",
    "TGRUCell",
    "TLSTMCell",
    "TRNNCell",
    "UGRNNCell",
    "UnICORNNCell",
    "WMCLSTMCell",
)


@hookimpl
def rnnsearch_architectures() -> dict[str, str]:
    """Every cell of torchrecurrent, named `torchrecurrent_` plus its name in lower case."""
    if find_spec("torchrecurrent") is None:
        return {}
    return {architecture(cell): f"rnnsearch_torchrecurrent.cells:{cell}" for cell in CELLS}


def architecture(cell: str) -> str:
    """Return the name of a cell of torchrecurrent in a study: `torchrecurrent_mgu`."""
    return f"torchrecurrent_{cell.removesuffix('Cell').lower()}"
