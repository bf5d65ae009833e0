"""What a loading did, or would have done."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoadReport:
    """What became of the names of a file and of those it was loaded into.

    Args:
        loaded: names that got their values.
        missing: names of the module or tree that the file lacks.
        unexpected: names of the file that the module or tree lacks.
        mismatched: names whose shapes or kinds differ, with the difference.
        narrowed: names whose values were cast to a dtype that holds less, with both dtypes.
        verified: whether every array was held against its checksum.
    """

    loaded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, str] = field(default_factory=dict)
    narrowed: Mapping[str, str] = field(default_factory=dict)
    verified: bool = False

    def __str__(self) -> str:
        """One line each; the names that need attention in full."""
        lines = [f"{len(self.loaded)} loaded, {'verified' if self.verified else 'not verified'}", *self.problems()]
        lines += [f"narrowed: {name}: {text}" for name, text in self.narrowed.items()]
        return "\n    ".join(lines)

    def problems(self) -> list[str]:
        """The names that did not fit, a line each."""
        lines = [f"missing: {name}" for name in self.missing]
        lines += [f"unexpected: {name}" for name in self.unexpected]
        return lines + [f"mismatched: {name}: {text}" for name, text in self.mismatched.items()]


class MisfitError(ValueError):
    """A file that is whole, but does not fit what it was to be loaded into; nothing has been changed.

    Args:
        op: what was called.
        path: of the file.
        report: all that does not fit, kept as an attribute.
        remedy: one sentence.
    """

    def __init__(self, op: str, path: str | os.PathLike[str], report: LoadReport, remedy: str = ""):
        problems = report.problems()
        text = f"{op}: {os.fspath(path)!r} does not fit, nothing was changed. {len(problems)} problems:"
        super().__init__("\n    ".join([text, *problems, *([remedy] if remedy else [])]))
        self.report = report
