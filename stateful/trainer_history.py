"""History: the rows of a training run, to be read and drawn."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from purenn.errors import refusal


class History(Sequence[dict[str, Any]]):
    """The logged rows of a run, oldest first; each is ``{"step": n, metric: number, ...}``.

    Args:
        rows: to begin with.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]] = ()):
        self.rows = [dict(row) for row in rows]

    def __getitem__(self, index: Any) -> Any:
        """A row by number; a metric by name, as ``(steps, values)``."""
        if not isinstance(index, str):
            return self.rows[index]
        having = [row for row in self.rows if index in row]
        if not having:
            known = sorted({name for row in self.rows for name in row})
            raise KeyError(f"History: no row has {index!r}; there are: {', '.join(known) or 'none'}.")
        return [row["step"] for row in having], [row[index] for row in having]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self)} rows{f', last {self.rows[-1]}' if self.rows else ''})"

    def plot(self, *names: str, path: str | os.PathLike[str] | None = None) -> Any:
        """Draws metrics against steps, one panel each.

        Args:
            *names: of metrics; none means all, evaluation beside training.
            path: of a picture to be written.

        Returns:
            matplotlib's figure.

        Errors:
            ImportError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            remedy = 'pip install "purenn[examples]" brings it.'
            raise refusal("plot", "matplotlib must be installed", remedy=remedy, kind=ImportError) from error
        panels = self._panels(names)
        figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
        for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for name in curves:
                axes.plot(*self[name], label=name, marker="." if len(self[name][0]) < 30 else None)
            axes.set(xlabel="step", title=title)
            axes.legend()
        if path is not None:
            figure.savefig(path, dpi=110)
        return figure

    def _panels(self, names: Sequence[str]) -> list[tuple[str, list[str]]]:
        if names:
            return [(name, [name]) for name in names]
        known = dict.fromkeys(name for row in self.rows for name in row if name not in MEASURES)
        if not known:
            raise refusal("plot", "a run must have been logged", {"len(history)": len(self)})
        titles = dict.fromkeys(name.removeprefix("eval_") for name in known)
        return [(title, [name for name in (title, f"eval_{title}") if name in known]) for title in titles]


# What stands in a row besides the metrics of the loss.
MEASURES = ("step", "epoch", "seconds", "steps_per_second", "examples_per_second")
