"""Trains eight networks on real handwritten digits at once, and asks them where they disagree.

    python examples/ensemble.py

``transforms.ensemble`` makes one model of eight: each member has weights, batches and noise of its own, and one
compiled step trains them all. What they disagree about is what they do not know: most errors are among the digits
that they doubt, and halfway between two digits they doubt most. Taken apart, each member is the plain network again,
with torch's names.
"""

import argparse
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits

import purenn.functional as F
import stateful as nn
import transforms

matplotlib.use("Agg")
import matplotlib.pyplot as plt

console = Console(highlight=False)
MEMBERS = 8
MIXTURES = np.linspace(0, 1, 11)


class Net(nn.Module):
    """One member: two layers, with running statistics and noise inside."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        """(N, 1, 8, 8) -> (N, 10)."""
        return self.head(self.drop(F.relu(self.norm(self.body(x.reshape(x.shape[0], -1))))))


def digits(seed: int):
    """1,797 images (N, 1, 8, 8) in [0, 1] and their labels; a third to train on, so that something is left to doubt."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(images))
    cut = len(images) // 3
    train, test = order[:cut], order[cut:]
    return (images[train], labels[train].astype(np.int32)), (images[test], labels[test].astype(np.int32))


def loss(m, batch):
    """The sum over members of their cross entropies: the gradient of each is its own."""
    x, y = batch
    losses = jax.vmap(F.cross_entropy)(m(x), y)
    return losses.sum(), {"members": losses}


def train(model, data, epochs: int, batch: int, seed: int):
    """Runs the epochs, each member through the data in an order of its own; gives the arrays and the losses (T, 8)."""
    images, labels = data
    per_epoch = len(images) // batch
    trainer = transforms.train_step(model, loss, optax.adamw(3e-3, weight_decay=1e-2))
    state = trainer.init(jax.random.key(seed))
    shuffle, losses = np.random.default_rng(seed), []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=epochs * per_epoch)
        for _ in range(epochs):
            orders = np.stack([shuffle.permutation(len(images)) for _ in range(MEMBERS)])
            for i in range(per_epoch):
                chosen = orders[:, i * batch : (i + 1) * batch]  # (8, N)
                state, metrics = trainer.step(state, (images[chosen], labels[chosen]))
                losses.append(metrics["members"])
                progress.advance(task)
    return state.params, state.buffers, np.stack(losses)


def doubt(logits):
    """Mean prediction and disagreement of the members, from logits (M, N, 10).

    The disagreement is the mutual information, in nats, between the label and the choice of a member: the entropy of
    the mean prediction less the mean entropy of the predictions.
    """
    p = jax.nn.softmax(logits, -1)
    mean = p.mean(0)
    return mean, entropy(mean) - entropy(p).mean(0)


def entropy(p):
    """Entropy of distributions (..., K), in nats."""
    return jax.scipy.special.entr(p).sum(-1)


def mixed(images, weight: float):
    """Each image (N, 1, 8, 8) faded into the next one by a weight from 0 to 1."""
    return (1 - weight) * images + weight * np.roll(images, 1, axis=0)


def figure(path: Path, losses, test, disagreement, guess, by_weight):
    """Eight learning curves, errors against doubt, doubt between two digits, and the most doubtful digits."""
    fig = plt.figure(figsize=(11, 6), layout="constrained")
    grid = fig.add_gridspec(2, 6, height_ratios=(2, 1))
    left, middle, right = (fig.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3))
    left.semilogy(losses, linewidth=0.8)
    left.set(xlabel="step", ylabel="training loss", title="Eight members, one step")
    order = np.argsort(disagreement)
    wrong = np.cumsum((guess != test[1])[order]) / np.arange(1, len(order) + 1)
    middle.plot(100 * np.arange(1, len(order) + 1) / len(order), 100 * wrong)
    middle.set(
        xlabel="digits answered, least doubtful first, %", ylabel="errors among them, %", title="Doubt is warranted"
    )
    right.plot(100 * MIXTURES, by_weight, marker="o")
    right.set(xlabel="faded into another digit, %", ylabel="mean disagreement, nats", title="Between two digits")
    for column, i in enumerate(order[::-1][:6]):
        cell = fig.add_subplot(grid[1, column])
        cell.imshow(test[0][i, 0], cmap="gray_r")
        cell.set_title(f"{test[1][i]}, read as {guess[i]}\n{disagreement[i]:.2f} nats", fontsize=9)
        cell.axis("off")
    fig.savefig(path, dpi=110)
    plt.close(fig)


def check_members(model, params, buffers, images, logits):
    """Each member, taken apart, is the plain network; together they are the ensemble again."""
    plain, states = Net(), model.unstack(params, buffers)
    plain.eval()
    for state, expected in zip(states, logits, strict=True):
        plain.load_state_dict(state)
        if not np.allclose(nn.jit(plain)(images), expected, rtol=1e-4, atol=1e-4):
            raise SystemExit("a member by itself differs")
    again = model.stack(states)
    if not all(jax.tree.leaves(jax.tree.map(np.array_equal, again, (params, buffers)))):
        raise SystemExit("the members together differ")
    console.print(
        f"{len(states)} members by themselves give the ensemble's logits; their names: {', '.join(states[0])}"
    )


def main(argv=None):
    """Trains, compares and draws; gives the accuracy of the ensemble."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for the results")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    data, test = digits(args.seed)
    # one batch for each member in training, the same images for all of them afterwards
    params, buffers, losses = train(
        transforms.ensemble(Net(), MEMBERS, in_axes=0), data, args.epochs, args.batch, args.seed
    )
    model = transforms.ensemble(Net(), MEMBERS)
    console.print(f"trained {MEMBERS} members in {time.perf_counter() - start:.1f} s")
    read = jax.jit(lambda images: model.apply(params, buffers, images)[0])  # (8, N, 10)
    logits = read(test[0])
    check_members(model, params, buffers, test[0], logits)

    mean, disagreement = (np.asarray(x) for x in doubt(logits))
    guess = mean.argmax(-1)
    alone = np.asarray((logits.argmax(-1) == test[1]).mean(-1))
    accuracy = float((guess == test[1]).mean())
    nll = [float(F.cross_entropy(member, test[1])) for member in logits]
    together = float(-np.log(mean[np.arange(len(guess)), test[1]]).mean())
    console.print(f"test accuracy: members {alone.min():.2%} to {alone.max():.2%}, together {accuracy:.2%}")
    console.print(f"test loss: members {min(nll):.3f} to {max(nll):.3f} nats, together {together:.3f}")
    by_weight = [float(doubt(read(mixed(test[0], weight)))[1].mean()) for weight in MIXTURES]
    console.print(f"mean disagreement: {by_weight[0]:.3f} nats on digits, {by_weight[5]:.3f} halfway between two")
    figure(args.out / "ensemble.png", losses, test, disagreement, guess, by_weight)
    console.print(f"figure {args.out / 'ensemble.png'}; {time.perf_counter() - start:.1f} s in all")
    return accuracy


if __name__ == "__main__":
    main()
