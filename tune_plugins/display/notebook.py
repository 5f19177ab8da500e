"""The table in a notebook: one output of the cell, which is replaced as the run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tune_plugins.display.drawn import DrawnDisplay
from tune_plugins.display.html import preformatted
from tune_plugins.display.lines import Line

_SIZE = 100, 30  # columns and rows: an output knows nothing of the window that it is shown in


class NotebookDisplay(DrawnDisplay):
    """A table that is redrawn in place, by the messages of IPython that JupyterLab, VS Code and Colab understand.

    No widgets: what was shown last is in the file of the notebook, and nbconvert shows it.
    """

    interval_s = 0.5
    _handle: Any = None

    def begin(self) -> None:
        """Open the output."""
        from IPython.display import display

        self._handle = display(_Output([]), display_id=True)
        super().begin()

    def size(self) -> tuple[int, int] | None:
        """The same always."""
        return None if self._handle is None else _SIZE

    def show(self, lines: Sequence[Line]) -> None:
        """Replace the output."""
        self._handle.update(_Output(lines))

    def abandon(self) -> None:
        """The output stays as it is."""
        self._handle = None


class _Output:
    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def _repr_html_(self) -> str:
        return preformatted(self._lines)

    def __repr__(self) -> str:
        return "\n".join("".join(text for text, _ in parts) for parts in self._lines)
