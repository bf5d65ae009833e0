"""Trains a convolutional network on real handwritten digits, saves it, and proves that the file is the same thing.

    python examples/digits.py --style module     # a torch-like class
    python examples/digits.py --style pure       # a composition of pure layers

Both styles describe one network and, from one seed, give one training run, number for number. The checkpoint is a
safetensors file that torch loads with ``strict=True``.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sklearn.datasets import load_digits

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L

matplotlib.use("Agg")
import matplotlib.pyplot as plt

console = Console(highlight=False)


# ------------------------------------------------------------------ one network, written twice


class DigitsNet(nn.Module):
    """The network as a class, as in torch."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(64 * 4 * 4, 128)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        """(N, 1, 8, 8) -> (N, 10)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = self.drop(x.reshape(x.shape[0], -1))
        return self.head(self.drop(F.relu(self.fc(x))))


def wire(m, x):
    """The network as a plain function of its children: (N, 1, 8, 8) -> (N, 10)."""
    x = F.relu(m.bn1(m.conv1(x)))
    x = F.max_pool2d(F.relu(m.bn2(m.conv2(x))), 2)
    x = m.drop(x.reshape(x.shape[0], -1))
    return m.head(m.drop(F.relu(m.fc(x))))


def pure_net():
    """The network as a composition: no object anywhere."""
    return purenn.compose(
        wire,
        conv1=L.Conv2d(1, 32, 3, padding=1),
        bn1=L.BatchNorm2d(32),
        conv2=L.Conv2d(32, 64, 3, padding=1),
        bn2=L.BatchNorm2d(64),
        drop=L.Dropout(0.3),
        fc=L.Linear(64 * 4 * 4, 128),
        head=L.Linear(128, 10),
    )


STYLES = {"module": DigitsNet, "pure": pure_net}


# ------------------------------------------------------------------ data, training, evaluation


def digits(seed: int = 0):
    """1,797 images (N, 1, 8, 8) in [0, 1] and their labels, split 4 to 1."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(images))
    cut = len(images) * 4 // 5
    train, test = order[:cut], order[cut:]
    return (images[train], labels[train].astype(np.int32)), (images[test], labels[test].astype(np.int32))


def loss(m, batch):
    """Cross entropy, and the accuracy beside it."""
    x, y = batch
    logits = m(x)
    return F.cross_entropy(logits, y), {"accuracy": (logits.argmax(-1) == y).mean()}


def train(model, data, test, epochs: int, batch: int, seed: int):
    """Runs the epochs; gives the final state and (train loss, test accuracy) per epoch."""
    images, labels = data
    per_epoch = len(images) // batch
    schedule = optax.cosine_decay_schedule(3e-3, epochs * per_epoch)
    trainer = transforms.train_step(model, loss, optax.adamw(schedule, weight_decay=1e-2))
    state = trainer.init(jax.random.key(seed))
    evaluate = jax.jit(lambda params, buffers, x: model.apply(params, buffers, x)[0])
    shuffle = np.random.default_rng(seed)
    history = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=epochs * per_epoch)
        for epoch in range(epochs):
            order, losses = shuffle.permutation(len(images)), []
            for i in range(per_epoch):
                chosen = order[i * batch : (i + 1) * batch]
                state, metrics = trainer.step(state, (images[chosen], labels[chosen]))
                losses.append(metrics["loss"])
                progress.advance(task)
            logits = evaluate(state.params, state.buffers, test[0])
            accuracy = float((logits.argmax(-1) == test[1]).mean())
            history.append((float(jnp.stack(losses).mean()), accuracy))
            progress.update(task, description=f"epoch {epoch + 1:2d}  loss {history[-1][0]:.4f}  test {accuracy:.2%}")
            if (epoch + 1) % 5 == 0 or epoch + 1 == epochs:
                console.print(f"epoch {epoch + 1:2d}: loss {history[-1][0]:.4f}, test accuracy {accuracy:.2%}")
    return state, history


def figure(path: Path, history, images, labels, logits):
    """The learning curve, and some digits that were misread."""
    guess = np.asarray(logits.argmax(-1))
    wrong = np.flatnonzero(guess != labels)[:5]
    shown = [*wrong, *np.flatnonzero(guess == labels)[: 5 - len(wrong)]]
    fig = plt.figure(figsize=(10, 6), layout="constrained")
    grid = fig.add_gridspec(2, 5, height_ratios=(2, 1))
    left = fig.add_subplot(grid[0, :])
    epochs = range(1, len(history) + 1)
    left.semilogy(epochs, [row[0] for row in history], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss", title="Handwritten digits, 8 x 8")
    right = left.twinx()
    right.plot(epochs, [100 * row[1] for row in history], color="tab:orange")
    right.set(ylabel="test accuracy, %", ylim=(90, 100.2))
    left.yaxis.label.set_color("tab:blue")
    right.yaxis.label.set_color("tab:orange")
    for column, i in enumerate(shown):
        cell = fig.add_subplot(grid[1, column])
        cell.imshow(images[i, 0], cmap="gray_r")
        verb = "misread" if guess[i] != labels[i] else "read"
        cell.set_title(f"{labels[i]} {verb} as {guess[i]}", fontsize=10)
        cell.axis("off")
    fig.savefig(path, dpi=110)
    plt.close(fig)


# ------------------------------------------------------------------ the proof


def reload_both(path: Path, images):
    """The checkpoint as a pure function and as a Module: bit-identical logits under jit."""
    state = nn.load(path)
    model = pure_net()
    params, buffers = purenn.load_state_dict(model, state)
    pure, _ = jax.jit(model.apply)(params, buffers, images)
    net = DigitsNet()
    net.load_state_dict(state)
    module = nn.jit(net.eval())(images)
    return pure, module


def torch_logits(path: Path, images):
    """The same file in the same network, written in torch; None where torch is not installed."""
    try:
        import torch
        from safetensors.torch import load_file
    except ImportError:
        return None

    class TorchNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(1, 32, 3, padding=1)
            self.bn1 = torch.nn.BatchNorm2d(32)
            self.conv2 = torch.nn.Conv2d(32, 64, 3, padding=1)
            self.bn2 = torch.nn.BatchNorm2d(64)
            self.drop = torch.nn.Dropout(0.3)
            self.fc = torch.nn.Linear(64 * 4 * 4, 128)
            self.head = torch.nn.Linear(128, 10)

        def forward(self, x):
            relu = torch.nn.functional.relu
            x = relu(self.bn1(self.conv1(x)))
            x = torch.nn.functional.max_pool2d(relu(self.bn2(self.conv2(x))), 2)
            x = self.drop(x.reshape(x.shape[0], -1))
            return self.head(self.drop(relu(self.fc(x))))

    net = TorchNet()
    net.load_state_dict(load_file(path), strict=True)
    with torch.no_grad():
        return net.eval()(torch.from_numpy(images)).numpy()


def main(argv=None):
    """Trains, saves, reloads, compares; gives the test accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--style", choices=STYLES, default="module", help="how the model is written")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for the results")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    data, test = digits()
    state, history = train(STYLES[args.style](), data, test, args.epochs, args.batch, args.seed)
    checkpoint = args.out / "digits.safetensors"
    # the same dict from either style: params and buffers, merged and flattened, are the state_dict
    nn.save(checkpoint, purenn.state_dict(pure_net(), state.params, state.buffers))
    console.print(f"trained as {args.style} in {time.perf_counter() - start:.1f} s; saved {checkpoint}")

    pure, module = reload_both(checkpoint, test[0])
    if not np.array_equal(pure, module):
        raise SystemExit("the pure function and the Module differ")
    console.print("reloaded as a pure function and as a Module: logits bit-identical under jit")
    theirs = torch_logits(checkpoint, test[0])
    if theirs is None:
        console.print("torch is not installed: its side of the proof was left out")
    else:
        error = float(np.abs(theirs - np.asarray(pure)).max() / np.abs(theirs).max())
        console.print(f"torch loads the file with strict=True: largest difference {error:.1e} of the scale")
        if error > 1e-5:
            raise SystemExit("torch disagrees")
    figure(args.out / "digits.png", history, *test, pure)
    console.print(f"test accuracy {history[-1][1]:.2%}; figure {args.out / 'digits.png'}")
    return history[-1][1]


if __name__ == "__main__":
    main()
