"""The store of a run on one host: a safetensors file a step."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from purenn.files.atomic import remove_litter
from stateful.checkpoint import load, restore, save

_NAME = re.compile(r"step-(\d+)\.safetensors")


class FileStore:
    """Files ``step-120.safetensors`` in a folder.

    Args:
        directory: the folder, which is there.
    """

    threaded = True  # a thread may write

    def __init__(self, directory: Path):
        self.directory = directory

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.directory / f"step-{step}.safetensors"

    def steps(self) -> list[int]:
        """The steps there are, ascending; unfinished files have other names."""
        found = (_NAME.fullmatch(entry.name) for entry in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def write(self, step: int, content: Mapping[str, Any]) -> None:
        """Saves ``state``, ``step`` and ``notes``."""
        for litter in self.directory.glob(".step-*.tmp"):  # of a killed process; each step has a name of its own
            remove_litter(litter)
        save(self.path(step), content)

    def read(self, step: int, like: Any) -> tuple[Any, int, str]:
        """Loads state, step and notes.

        Args:
            step: of the checkpoint.
            like: a state of its structure; None gives a flat dict.

        Returns:
            ``(state, step, notes)``.

        Errors:
            `CheckpointError` for a broken file, ValueError for another structure.
        """
        if like is not None:
            found = restore(self.path(step), {"state": like, "step": 0, "notes": ""})
            return found["state"], found["step"], found["notes"]
        flat = load(self.path(step))
        state = {name.removeprefix("state."): value for name, value in flat.items() if name.startswith("state.")}
        return state, flat["step"], flat["notes"]

    def notes(self, step: int) -> str:
        """The notes alone."""
        return load(self.path(step), where="notes")["notes"]

    def remove(self, step: int) -> None:
        """Removes a checkpoint."""
        self.path(step).unlink(missing_ok=True)
