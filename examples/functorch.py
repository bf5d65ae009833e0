"""Gradients as values: per-example gradients, Jacobians and MAML, with torch.func's names.

    python examples/functorch.py

Three short studies on real and drawn data, each a few lines over a model's two functions:

1. **Per-example gradients.** A network learns the handwritten digits with some labels exchanged. The norm of each
   example's own gradient tells the wrong labels from the right ones.
2. **Jacobians.** How far must an image move, to first order, before the network reads another digit? The Jacobian of
   the logits says so for every image at once, and moving that way turns the digit indeed.
3. **MAML.** A network that learns to learn sine curves: gradients through a step of gradient descent, for many curves
   at once. Ten examples and a few steps are enough for a new curve.

Writes one figure, `functorch.png`, into the folder of results.
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
from sklearn.datasets import load_digits

import purenn.functional as F
import stateful as nn
import transforms
from transforms.func import functional_call, grad, jacrev, vmap

matplotlib.use("Agg")
import matplotlib.pyplot as plt

console = Console(highlight=False)


# ------------------------------------------------------------------ 1. per-example gradients


def digits(seed: int, wrong: float):
    """1,797 images (N, 64) in [0, 1], their labels, and labels of which a part was exchanged for others."""
    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    images, labels = (images[order] / 16).astype(np.float32), labels[order].astype(np.int32)
    exchanged = rng.random(len(labels)) < wrong
    other = (labels + rng.integers(1, 10, len(labels))) % 10
    return images, labels, np.where(exchanged, other, labels).astype(np.int32)


def loss(m, batch):
    """Cross entropy of a batch; of one example too, which is how per_example_grad sees them."""
    x, y = batch
    return F.cross_entropy(m(x), y)


def train_digits(net, images, labels, epochs: int, seed: int):
    """Trains in micro-batches; gives the params."""
    trainer = transforms.train_step(net, loss, optax.adam(2e-3), accumulate=2)
    state = trainer.init(jax.random.key(seed))
    shuffle = np.random.default_rng(seed)
    for _ in range(epochs):
        for chosen in np.array_split(shuffle.permutation(len(images))[: len(images) // 64 * 64], len(images) // 64):
            state, _ = trainer.step(state, (images[chosen], labels[chosen]))
    return state.params


def gradient_norms(net, params, images, labels):
    """(N,): the norm of each example's gradient."""
    per_example = transforms.per_example_grad(net, loss)

    def norms(x, y):
        _, grads = per_example(params, {}, (x, y), train=False)
        return jax.vmap(optax.global_norm)(grads)

    return np.concatenate(
        [jax.jit(norms)(images[i : i + 256], labels[i : i + 256]) for i in range(0, len(images), 256)]
    )


def ranking(scores, positive) -> float:
    """The chance that a positive scores above a negative one."""
    ranks = np.argsort(np.argsort(scores)) + 1
    count = positive.sum()
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (~positive).sum()))


# ------------------------------------------------------------------ 2. Jacobians


def nearest_boundary(net, params, images):
    """The shortest first-order step (N, 64) to another digit, and how long it is (N,).

    With logits z and Jacobian J (10, 64), digit k is reached where (J_k - J_c) d = z_c - z_k; the shortest such d is
    along J_k - J_c.
    """

    def logits(params, x):
        return functional_call(net, params, x)

    def step(params, x):
        z, J = logits(params, x), jacrev(logits, argnums=1)(params, x)
        c = z.argmax()
        gap, slope = z[c] - z, J - J[c]  # (10,), (10, 64)
        length = jnp.where(jnp.arange(10) == c, jnp.inf, gap / jnp.linalg.norm(slope, axis=1))
        k = length.argmin()
        return slope[k] * gap[k] / (slope[k] ** 2).sum(), length[k]

    return jax.jit(vmap(step, in_dims=(None, 0)))(params, images)


# ------------------------------------------------------------------ 3. MAML


class SineNet(nn.Module):
    """(N, 1) -> (N, 1)."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(1, 40)
        self.fc2 = nn.Linear(40, 40)
        self.fc3 = nn.Linear(40, 1)

    def forward(self, x):
        """(N, 1) -> (N, 1)."""
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def curves(key, tasks: int, examples: int):
    """Two sets of examples, each (tasks, examples, 1) twice, of sine curves with their own amplitude and phase."""
    amplitude, phase, first, second = jax.random.split(key, 4)
    a = jax.random.uniform(amplitude, (tasks, 1, 1), minval=0.5, maxval=2.0)
    b = jax.random.uniform(phase, (tasks, 1, 1), maxval=np.pi)
    xs = [jax.random.uniform(k, (tasks, examples, 1), minval=-5.0, maxval=5.0) for k in (first, second)]
    return [part for x in xs for part in (x, a * jnp.sin(x + b))]


def adapt(net, params, x, y, rate: float, steps: int = 1):
    """Gradient descent on a few examples; gradients go through it."""

    def inner(params):
        return F.mse_loss(functional_call(net, params, x), y)

    for _ in range(steps):
        grads = grad(inner)(params)
        params = {name: params[name] - rate * grads[name] for name in params}
    return params


def maml(net, steps: int, rate: float, seed: int):
    """Learns params from which one step of gradient descent gets far; gives them, and the losses."""
    params = dict(net.named_parameters())
    optimizer = optax.adam(1e-3)

    def outer(params, task):
        def one(x1, y1, x2, y2):
            return F.mse_loss(functional_call(net, adapt(net, params, x1, y1, rate), x2), y2)

        return vmap(one)(*task).mean()

    @jax.jit
    def update(params, state, key):
        value, grads = jax.value_and_grad(outer)(params, curves(key, 25, 10))
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state, losses = optimizer.init(params), []
    for key in jax.random.split(jax.random.key(seed), steps):
        params, state, value = update(params, state, key)
        losses.append(value)
    return params, np.asarray(losses)


def fits(net, params, rate: float, seed: int):
    """A new curve: its examples, and what the network makes of it after 0, 1 and 10 steps."""
    x, y, *_ = (part[0] for part in curves(jax.random.key(seed), 1, 10))
    grid = jnp.linspace(-5, 5, 200)[:, None]
    learned = {steps: functional_call(net, adapt(net, params, x, y, rate, steps), grid) for steps in (0, 1, 10)}
    return x, y, grid, learned


def error_after(net, params, rate: float, steps: int) -> float:
    """The mean squared error on 200 new curves, after so many steps on ten examples of each."""

    def one(x1, y1, x2, y2):
        return F.mse_loss(functional_call(net, adapt(net, params, x1, y1, rate, steps), x2), y2)

    return float(jax.jit(vmap(one))(*curves(jax.random.key(99), 200, 10)).mean())


# ------------------------------------------------------------------ the figure


def figure(path: Path, norms, exchanged, images, steps, lengths, reads, curve):
    """Three panels, one for each study."""
    fig = plt.figure(figsize=(13, 4.2), layout="constrained")
    left, middle, right = fig.subfigures(1, 3)
    axes = left.subplots()
    bins = np.geomspace(max(norms.min(), 1e-4), norms.max(), 40)
    axes.hist([norms[~exchanged], norms[exchanged]], bins, stacked=True, label=["right label", "exchanged label"])
    axes.set(xscale="log", xlabel="norm of the example's gradient", ylabel="examples", title="Whose label is wrong?")
    axes.legend()
    order = np.argsort(lengths)[[0, len(lengths) // 2, -1]]
    for row, i in zip(middle.subplots(3, 3), order, strict=True):
        shown = images[i], steps[i], images[i] + 1.05 * steps[i]
        for cell, image, cmap in zip(row, shown, ("gray_r", "coolwarm", "gray_r"), strict=True):
            shades = (
                {"vmin": 0, "vmax": 1} if cmap == "gray_r" else {"vmin": -abs(image).max(), "vmax": abs(image).max()}
            )
            cell.imshow(np.reshape(image, (8, 8)), cmap=cmap, **shades)
            cell.axis("off")
        titles = f"read as {reads[0][i]}", f"step of length {lengths[i]:.2f}", f"read as {reads[1][i]}"
        for cell, title in zip(row, titles, strict=True):
            cell.set_title(title, fontsize=9)
    middle.suptitle("The shortest way to another digit")
    x, y, grid, learned = curve
    axes = right.subplots()
    for count, line in learned.items():
        axes.plot(grid, line, label=f"after {count} step{'s' * (count != 1)}")
    axes.plot(x, y, "k^", label="the ten examples")
    axes.set(xlabel="x", title="Learned to learn a sine curve")
    axes.legend(fontsize=8)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main(argv=None):
    """Runs the three studies; gives the ranking, the share of digits turned, and the errors of MAML."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--maml-steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for the results")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    nn.manual_seed(args.seed)
    images, labels, given = digits(args.seed, wrong=0.1)
    exchanged = given != labels
    net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    console.print(transforms.summary(net, jax.ShapeDtypeStruct((64, 64), jnp.float32)))
    params = train_digits(net, images, given, args.epochs, args.seed)
    norms = gradient_norms(net, params, images, given)
    found = ranking(norms, exchanged)
    console.print(f"per-example gradients: a wrong label has the larger gradient in {found:.1%} of pairs")

    steps, lengths = nearest_boundary(net, params, images)
    reads = [np.asarray(net.apply(params, {}, x)[0].argmax(-1)) for x in (images, images + 1.05 * steps)]
    turned = float((reads[0] != reads[1]).mean())
    console.print(f"Jacobians: the step turns {turned:.1%} of the digits; median length {np.median(lengths):.2f}")

    sine, rate = SineNet(), 0.05
    fresh = dict(sine.named_parameters())
    learned, _ = maml(sine, args.maml_steps, rate, args.seed)
    errors = {name: error_after(sine, p, rate, 5) for name, p in (("drawn", fresh), ("learned", learned))}
    console.print(
        f"MAML: error on new curves after 5 steps {errors['learned']:.3f}, from drawn weights {errors['drawn']:.3f}"
    )

    curve = fits(sine, learned, rate, 7)
    figure(args.out / "functorch.png", norms, exchanged, images, np.asarray(steps), np.asarray(lengths), reads, curve)
    console.print(f"figure {args.out / 'functorch.png'} in {time.perf_counter() - start:.1f} s")
    return found, turned, errors


if __name__ == "__main__":
    main()
