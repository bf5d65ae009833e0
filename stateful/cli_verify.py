"""``purenn verify``: files held against their checksums."""

import argparse

from rich.console import Console

from purenn.files.error import CheckpointError
from stateful.checkpoint_files import opened
from stateful.cli_text import printable, size


def verify(console: Console, options: argparse.Namespace) -> int:
    """Reads files whole and says whether they are what was written.

    Args:
        console: where to.
        options: files.

    Returns:
        0 where all are, 1 where one is damaged, 3 where one has no checksums.

    Errors:
        OSError for a file that cannot be read.
    """
    codes = [_verify(console, file) for file in options.files]
    return 1 if 1 in codes else max(codes)


def _verify(console: Console, file: str) -> int:
    damaged = []
    try:
        with opened(file) as content:
            for entry in content.entries.values():
                try:
                    entry.read()
                except CheckpointError as error:
                    damaged.append(str(error))
            count, checked = len(content.entries), content.checked
            total = size(sum(entry.nbytes for entry in content.entries.values()))
    except CheckpointError as error:
        damaged.append(str(error))
    if damaged:
        text = f"DAMAGED: {damaged[0]}" + (f" And {len(damaged) - 1} more." if len(damaged) > 1 else "")
    else:
        text = f"{'ok' if checked else 'whole, but without checksums'}: {count} arrays, {total}"
    console.print(printable(f"{file}: {text}"), markup=False, soft_wrap=True)
    return 1 if damaged else 0 if checked else 3
