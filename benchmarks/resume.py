"""Exact resume: a training run on real digits, killed at random moments, ends in the bits of an undisturbed one.

    python benchmarks/resume.py --kills 20

Every trial starts the same command again until it ends, kills it with SIGKILL after a random number of logged rows (or
within a save), and compares the final state, bit for bit, and the rows of the log with those of the undisturbed run.
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
from pathlib import Path

import numpy as np

STEPS = 60


def child(folder: Path) -> None:
    """One run; the same command goes on where the last one was."""
    import jax
    import optax
    from sklearn.datasets import load_digits

    import purenn.functional as F
    import stateful as nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.norm, self.drop, self.head = (
                nn.Linear(64, 48), nn.BatchNorm1d(48), nn.Dropout(0.2), nn.Linear(48, 10),
            )  # fmt: skip

        def forward(self, x):
            return self.head(self.drop(F.relu(self.norm(self.body(x)))))

    x, y = load_digits(return_X_y=True)
    nn.manual_seed(0)
    schedule = optax.cosine_decay_schedule(3e-3, STEPS)
    trainer = nn.Trainer(
        Net(), lambda m, b: F.cross_entropy(m(b[0]), b[1]), optax.adam(schedule), rng=jax.random.key(1)
    )
    data = nn.batches(((x / 16).astype(np.float32), y), 64, jax.random.key(2))
    trainer.fit(
        data, steps=STEPS, log_every=3, save_every=4, checkpoint=folder / "run", log=folder / "log.jsonl",
        progress=False, callbacks=[lambda *_: time.sleep(0.01)],
    )  # fmt: skip


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, "--child", str(folder)])


def rows(folder: Path) -> list[dict]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "second" not in k} for line in lines]


def final(folder: Path) -> dict:
    import stateful as nn

    state = nn.Checkpointer(folder / "run").restore(step=STEPS).state
    return {name: np.asarray(value).tobytes() for name, value in state.items() if not name.endswith("rng")}


def killed(folder: Path, chance: random.Random) -> int:
    """Runs until the end, with a kill at a random row and moment; gives the number of kills."""
    kills, at = 0, chance.randrange(1, STEPS // 3)
    run = start(folder)
    while run.poll() is None:
        log = folder / "log.jsonl"
        if log.exists() and log.read_bytes().count(b"\n") >= at:
            time.sleep(chance.uniform(0, 0.02))
            os.kill(run.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    if run.wait() == -signal.SIGKILL:
        kills = 1
        if start(folder).wait() != 0:
            raise SystemExit("the run that went on has failed")
    return kills


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child)
        return
    chance, equal, kills = random.Random(args.seed), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        start(whole).wait()
        for trial in range(args.kills):
            folder = Path(scratch) / f"trial{trial}"
            folder.mkdir()
            kills += killed(folder, chance)
            equal += final(folder) == final(whole) and rows(folder) == rows(whole)
    print(f"{args.kills} runs, {kills} killed, {equal} equal to the undisturbed one, bit for bit and row for row")
    if equal != args.kills or not kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
