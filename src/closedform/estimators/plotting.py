"""What all plots need."""

from __future__ import annotations

from typing import Any


def pyplot() -> Any:
    """matplotlib.pyplot, or an error that names the extra."""
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(
            'plot needs matplotlib: pip install "closedform[plot]"', name="matplotlib"
        ) from e
    return plt
