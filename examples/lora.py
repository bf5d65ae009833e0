"""Adapts a pretrained network to a changed task with few trained numbers: pretrain, freeze, adapt, merge, compare.

    python examples/lora.py

A network learns the handwritten digits. Then the task changes: rows and columns of the images are exchanged, and only a
hundred or so are labelled. The answers start from the same weights: train everything, train the head alone, or freeze
everything and train a correction of low rank (LoRA), over floating weights and over weights of four bits. The corrected
network is merged into a plain one, which computes the same and has the plain network's names.
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
from rich.table import Table
from sklearn.datasets import load_digits

import purenn
import purenn.functional as F
import transforms
from purenn import layers as L
from purenn import tree

matplotlib.use("Agg")
import matplotlib.pyplot as plt

console = Console(highlight=False)


def network():
    """(N, 64) -> (N, 10)."""
    return L.Sequential({
        "fc1": L.Linear(64, 128), "act1": F.relu, "fc2": L.Linear(128, 128), "act2": F.relu, "head": L.Linear(128, 10),
    })  # fmt: skip


def digits(seed: int = 0):
    """1,797 images (N, 64) in [0, 1] and their labels, split 4 to 1."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    order = np.random.default_rng(seed).permutation(len(images))
    cut = len(images) * 4 // 5
    return (images[order[:cut]], labels[order[:cut]]), (images[order[cut:]], labels[order[cut:]])


def changed(data):
    """The same digits, rows and columns exchanged."""
    images, labels = data
    return images.reshape(-1, 8, 8).swapaxes(1, 2).reshape(-1, 64), labels


def loss(m, batch):
    """Cross entropy."""
    x, y = batch
    return F.cross_entropy(m(x), y)


def train(model, data, steps: int, rate: float, seed: int = 0, arrays=(None, None)):
    """Adam over batches of at most 64; gives the final params and buffers."""
    images, labels = data
    trainer = transforms.train_step(model, loss, optax.adam(optax.cosine_decay_schedule(rate, steps)))
    state = trainer.init(jax.random.key(seed), *arrays)
    draw = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = draw.choice(len(images), min(64, len(images)), replace=False)
        state, _ = trainer.step(state, (images[chosen], labels[chosen]))
    return state.params, state.buffers


def accuracy(model, params, buffers, data) -> float:
    """Of the test images."""
    logits, _ = jax.jit(model.apply)(params, buffers, data[0])
    return float((logits.argmax(-1) == data[1]).mean())


def answers(net, pretrained, rank: int):
    """The ways to adapt: name, model, and its arrays from those of the pretrained network."""
    key = jax.random.key(1)
    frozen = transforms.freeze(net, "*")
    backbone = transforms.freeze(net, ["fc1.*", "fc2.*"])
    lora = transforms.lora(frozen, ["fc1.weight", "fc2.weight", "head.weight"], rank=rank, alpha=4 * rank)
    small = transforms.lora(transforms.quantize(frozen, bits=4, group_size=32), rank=rank, alpha=4 * rank)
    state = purenn.state_dict(net, pretrained, {})
    everything = purenn.load_state_dict(frozen, state)  # the frozen network: no params, all in the buffers
    return [
        ("all weights", net, (pretrained, {})),
        ("the head", backbone, purenn.load_state_dict(backbone, state)),
        (f"LoRA, rank {rank}", lora, lora.from_plain(*everything, key)),
        ("LoRA on 4 bits", small, small.from_plain(*everything, key)),
    ]


def merged(model, params, buffers, images):
    """The plain network that an adapted one stands for; its logits must be the same."""
    plain, params, buffers = transforms.merge(model, params, buffers)
    state = purenn.state_dict(plain, params, buffers)
    net = network()
    arrays = purenn.load_state_dict(net, state)
    return state, net.apply(*arrays, images)[0]


def figure(path: Path, rows, before: float, correction):
    """Accuracy against the number of trained weights, and a correction beside its singular values."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, trained, value, _ in rows:
        left.semilogx(trained, 100 * value, "o", markersize=9, label=name)
    left.axhline(100 * before, color="gray", linestyle=":", label="before")
    left.set(xlabel="trained numbers", ylabel="test accuracy on the changed task, %", title="What is trained")
    left.xaxis.set_minor_formatter(plt.NullFormatter())
    left.set_xlim(8e2, 5e4)
    left.legend(loc="center right", fontsize=9)
    values = np.linalg.svd(np.asarray(correction), compute_uv=False)
    right.bar(range(1, 17), values[:16], color="tab:purple")
    right.set(xlabel="singular value", title="The merged weight of fc2, less the pretrained one", xlim=(0.4, 16.6))
    fig.savefig(path, dpi=110)
    plt.close(fig)


def main(argv=None):
    """Pretrains, adapts in four ways, merges, compares; gives the accuracies by name."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--labelled", type=int, default=120, help="images of the changed task to adapt with")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "out", help="folder for the results")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    data, test = digits()
    net = network()
    pretrained, _ = train(net, data, args.steps, 3e-3)
    console.print(f"pretrained: {accuracy(net, pretrained, {}, test):.2%} of the digits")
    few, other = changed(tuple(part[: args.labelled] for part in data)), changed(test)
    before = accuracy(net, pretrained, {}, other)
    console.print(f"the changed task, before: {before:.2%}; {len(few[0])} labelled images to adapt with")

    rows, table = [], Table("trained", "numbers", "bytes kept", "changed task", box=None)
    for name, model, arrays in answers(net, pretrained, args.rank):
        params, buffers = train(model, few, args.steps, 3e-3, arrays=arrays)
        value = accuracy(model, params, buffers, other)
        rows.append((name, tree.count(params), value, (model, params, buffers)))
        table.add_row(name, f"{tree.count(params):,}", f"{tree.nbytes((params, buffers)):,}", f"{value:.2%}")
    console.print(table)

    model, params, buffers = rows[2][3]
    state, logits = merged(model, params, buffers, other[0])
    error = float(jnp.abs(logits - model.apply(params, buffers, other[0])[0]).max())
    console.print(f"merged into the plain network ({', '.join(state)}): largest difference {error:.1e}")
    if error > 1e-4:
        raise SystemExit("the merged network differs")
    figure(args.out / "lora.png", rows, before, state["fc2.weight"] - pretrained["fc2"]["weight"])
    console.print(f"{time.perf_counter() - start:.1f} s; figure {args.out / 'lora.png'}")
    return {name: value for name, _, value, _ in rows}


if __name__ == "__main__":
    main()
