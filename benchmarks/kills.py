"""SIGKILL at random moments of saves: nothing finished is lost, nothing half is seen, no litter stays.

    python benchmarks/kills.py --trials 300

For a single file, a set with an index and a Checkpointer's folder: a process saves states 1, 2, 3, ... and notes each
one when its save has returned; it is killed at a random moment. Then what loads must be the last state that was noted,
or the one after it, whole, every array of it; and the next save must leave no file but those of its own.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import stateful as nn

ARRAYS = 8


def state(number: int, floats: int) -> dict[str, np.ndarray]:
    """One number repeated, so that a mixture would show."""
    return {f"w{i}": np.full(floats, number, np.float32) for i in range(ARRAYS)}


class Single:
    """One file."""

    name = "a.safetensors"

    def __init__(self, folder: Path, floats: int):
        self.folder, self.path, self.floats = folder, folder / self.name, floats

    def save(self, number: int) -> None:
        """Returns when it is there."""
        nn.save(self.path, state(number, self.floats), shard_bytes=12 * self.floats)

    def load(self) -> dict[str, np.ndarray]:
        """What is there, checked."""
        return nn.load(self.path)

    def litter(self) -> int:
        """The number of files that do not belong there."""
        return len([*self.folder.iterdir()]) - 1


class Sharded(Single):
    """A set of three files."""

    name = "a.safetensors.index.json"

    def litter(self) -> int:
        """The number of files that the index does not name."""
        named = set(json.loads(self.path.read_bytes())["weight_map"].values())
        return len([*self.folder.iterdir()]) - len(named) - 1


class Folder(Single):
    """The folder of a run, which keeps two checkpoints."""

    def __init__(self, folder: Path, floats: int):
        super().__init__(folder, floats)
        self.run = nn.Checkpointer(folder, keep_last=2)

    def save(self, number: int) -> None:
        """Saves in a thread, and waits."""
        self.run.save(state(number, self.floats), number, extra={"number": number})
        self.run.wait()

    def load(self) -> dict[str, np.ndarray]:
        """The newest one; one that is passed over warns, which is an error here."""
        found = self.run.restore()
        assert found.extra == {"number": found.step}
        assert all(nn.load(self.run.path(step)) for step in self.run.steps())
        return found.state

    def litter(self) -> int:
        """The number of files that are no checkpoints, and of checkpoints too many."""
        return len([*self.folder.iterdir()]) - min(2, len(self.run.steps()))


class InPlace(Single):
    """A file that is written over, as one must not: the trials have to fail."""

    def save(self, number: int) -> None:
        """Writes where the old file is."""
        beside = self.folder.with_suffix(".whole")
        nn.save(beside, state(number, self.floats))
        self.path.write_bytes(beside.read_bytes())


KINDS = {"file": Single, "set": Sharded, "folder": Folder, "in place": InPlace}


def serve() -> None:
    """Imports once; each line asks for a fork that saves from a number on, until it is killed."""
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            kind, folder, floats, number = json.loads(line)
            store = KINDS[kind](Path(folder), floats)
            noted = os.open(Path(folder).with_suffix(".noted"), os.O_WRONLY)
            print(os.getpid(), flush=True)
            while True:
                number += 1
                store.save(number)
                os.pwrite(noted, b"%12d" % number, 0)
        os.waitpid(child, 0)
        print("dead", flush=True)


def tried(kind: str, store: Single, server: subprocess.Popen, number: int, wait: float, seen: Counter) -> int:
    """One trial; gives the number of the state that is there."""
    store.save(number)
    assert store.litter() == 0, "litter after a save"
    noted = store.folder.with_suffix(".noted")
    noted.write_bytes(b"%12d" % number)
    server.stdin.write(json.dumps([kind, str(store.folder), store.floats, number]) + "\n")
    server.stdin.flush()
    child = int(server.stdout.readline())
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    assert server.stdout.readline() == "dead\n"
    found, last = store.load(), int(noted.read_bytes())
    values = {float(x) for array in found.values() for x in np.unique(array)}
    assert len(found) == ARRAYS, "an array is missing"
    assert len(values) == 1, "a mixture of two states"
    assert values <= {last, last + 1}, f"state {last} was saved, {values} is there"
    seen["in the midst of a save"] += store.litter() > 0
    seen["the last finished state" if last in values else "the next one, whole"] += 1
    return last + 1


def trials(kind: str, server: subprocess.Popen, count: int, floats: int, seed: int) -> Counter:
    """Runs them, and counts what was found."""
    chance, seen, number = random.Random(seed), Counter(), 3
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        folder.mkdir()
        store = KINDS[kind](folder, floats)
        start = time.perf_counter()
        for first in range(1, number + 1):
            store.save(first)
        mean = (time.perf_counter() - start) / number
        for _ in range(count):
            number = tried(kind, store, server, number + 1, chance.uniform(0, 3 * mean), seen)
        store.save(number + 1)
        assert store.litter() == 0, "litter after a save"
    return seen


def main() -> None:
    """Prints a line for each kind."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--floats", type=int, default=200_000, help="in each of the eight arrays")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["file", "set", "folder"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    warnings.simplefilter("error")
    command = [sys.executable, "-W", "ignore", __file__, "--serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        for kind in args.kinds:
            seen = trials(kind, server, args.trials, args.floats, args.seed)
            told = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
            print(f"{kind}: {args.trials} kills, {told}; nothing lost, mixed or left behind", flush=True)
    finally:
        server.kill()
        server.communicate()


if __name__ == "__main__":
    main()
