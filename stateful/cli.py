"""The command ``purenn``: checkpoints looked at, converted, compared and verified; torch models ported to source.

Exit codes: 0 for yes, 1 for damage or a difference, 2 for what cannot be done, 3 for files that have no checksums.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from purenn.files.error import CheckpointError
from stateful.checkpoint_files import SHARD_BYTES
from stateful.cli_convert import convert
from stateful.cli_diff import diff
from stateful.cli_inspect import inspect
from stateful.cli_port import add_port_arguments, port
from stateful.cli_text import printable
from stateful.cli_verify import verify

_WIDE = 10_000  # columns of a file or a pipe: nothing is folded


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(argv)
    out, errors = _console(), Console(stderr=True, soft_wrap=True, highlight=False)
    run: Callable[[Console, argparse.Namespace], int] = options.run
    try:
        return run(out, options)
    except (ValueError, TypeError, OSError, NotImplementedError, RuntimeError) as error:
        errors.print(f"purenn: {printable(str(error))}", markup=False)
        return 1 if isinstance(error, CheckpointError) else 2
    except KeyboardInterrupt:
        return 130


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="purenn", description="Checkpoints and torch models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = _command(commands, "inspect", inspect, "list what a file holds: shapes, dtypes, ranges, checksums")
    one.add_argument("file", metavar="FILE", help="a file, or the index of a set")
    one.add_argument("--no-values", action="store_true", help="do not read the numbers, nor check them")
    _add_choice(one)
    two = _command(commands, "convert", convert, "write a file in another format, by the name of OUT")
    two.add_argument("file", metavar="IN", help="a file, or the index of a set")
    two.add_argument("out", metavar="OUT", help="*.safetensors, *.safetensors.index.json, *.npz, *.pt or *.pth")
    two.add_argument("--dtype", help="cast floating arrays, e.g. bfloat16")
    two.add_argument(
        "--shard-bytes", type=int, default=SHARD_BYTES, metavar="N", help="that one file of a set may hold"
    )
    _add_choice(two)
    three = _command(commands, "diff", diff, "compare two files: names, shapes, dtypes, largest differences")
    three.add_argument("file", metavar="A", help="a file; --prefix and --map rename in it")
    three.add_argument("other", metavar="B", help="another one")
    three.add_argument("--all", action="store_true", help="list equal arrays too")
    _add_choice(three)
    four = _command(commands, "verify", verify, "hold files against their checksums")
    four.add_argument("files", metavar="FILE", nargs="+", help="files, or indexes of sets")
    text = "write a torch model as readable Python for jax; the file named is your own code, which is imported and runs"
    add_port_arguments(_command(commands, "port", port, text))
    return parser


def _command(commands: Any, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
    parser.set_defaults(run=run)
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prefix", default="", help="take only names that begin with it, without it")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="PATTERN=REPLACEMENT",
        help="replace a regular expression in names",
    )
    parser.add_argument("--where", action="append", default=[], metavar="GLOB", help="take only names that match")


if __name__ == "__main__":
    sys.exit(main())
