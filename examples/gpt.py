"""Trains a small GPT on the documentation strings of Python's own standard library, and lets it write.

    python examples/gpt.py --steps 300

The classes are what they would be in PyTorch, but for the import lines, the tensor methods (``reshape``, ``swapaxes``)
and the ``rng``. Training runs through the same ``train_step`` as everything else.
"""

import argparse
import ast
import math
import sysconfig
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import purenn.functional as F
import stateful as nn
import transforms

console = Console(highlight=False)


class CausalSelfAttention(nn.Module):
    """Every position looks at itself and what came before."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        """(N, L, E) -> (N, L, E)."""
        N, L, E = x.shape
        q, k, v = self.qkv(x).reshape(N, L, 3, self.heads, E // self.heads).transpose(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True, rng=self.rng() if p else None)
        return self.proj(y.swapaxes(1, 2).reshape(N, L, E))


class Block(nn.Module):
    """Attention and a two-layer network, each added to what it reads."""

    def __init__(self, width, heads, dropout):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attn = CausalSelfAttention(width, heads, dropout)
        self.ln2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x):
        """(N, L, E) -> (N, L, E)."""
        x = x + self.drop(self.attn(self.ln1(x)))
        return x + self.drop(self.down(F.gelu(self.up(self.ln2(x)))))


class GPT(nn.Module):
    """Token and position embeddings, blocks, and a head that shares the token table."""

    def __init__(self, vocabulary, context=128, width=128, depth=4, heads=4, dropout=0.1):
        super().__init__()
        self.context = context
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList([Block(width, heads, dropout) for _ in range(depth)])
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.for_each(self._init_weights)
        self.head.weight = self.wte.weight

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight = nn.Parameter(nn.init.normal_, module.weight.shape, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias = nn.Parameter(nn.init.zeros_, module.bias.shape)

    def forward(self, tokens):
        """(N, L) of indices -> (N, L, vocabulary)."""
        x = self.drop(self.wte(tokens) + self.wpe(jnp.arange(tokens.shape[1])))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln(x))


def docstrings(limit: int = 2_000_000) -> str:
    """The documentation strings of the standard library, one after the other."""
    texts = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                texts.append(text)
    return "\n\n".join(texts)[:limit]


def loss(m, tokens):
    """Cross entropy of each next character, in nats."""
    logits = m(tokens[:, :-1])
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))


def train(net, data, steps: int, batch: int, seed: int):
    """Runs the steps; gives the final state and the losses."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, max(1, steps // 20), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.1))
    trainer = transforms.train_step(net, loss, optimizer)
    state = trainer.init(jax.random.key(seed))
    draw, losses = np.random.default_rng(seed), []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps)
        for step in range(steps):
            starts = draw.integers(0, len(data) - net.context - 1, batch)
            state, metrics = trainer.step(state, data[starts[:, None] + np.arange(net.context + 1)])
            losses.append(float(metrics["loss"]))
            progress.update(task, advance=1, description=f"loss {np.mean(losses[-20:]):.3f}")
            if (step + 1) % max(1, steps // 5) == 0:
                console.print(f"step {step + 1}: loss {np.mean(losses[-20:]):.3f} nats a character")
    return state, losses


def sample(net, params, buffers, prompt, length: int, rng, temperature: float = 0.8):
    """Draws characters one by one, in one compiled loop."""
    tokens = jnp.zeros(net.context, jnp.int32).at[: len(prompt)].set(jnp.asarray(prompt))

    @jax.jit
    def write(tokens, rng):
        def step(tokens, i):
            logits = net.apply(params, buffers, tokens[None])[0][0, i - 1] / temperature
            token = jax.random.categorical(jax.random.fold_in(rng, i), logits)
            return tokens.at[i].set(token), None

        return jax.lax.scan(step, tokens, jnp.arange(len(prompt), length))[0]

    return np.asarray(write(tokens, rng))[:length]


def main(argv=None):
    """Trains and samples; gives the mean loss of the last twenty steps."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    text = docstrings()
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    data = np.array([number[character] for character in text], np.int32)
    net = GPT(len(alphabet))
    leaves = net.init(jax.random.key(args.seed))[0]
    size = sum(leaf.size for leaf in jax.tree.leaves(leaves))
    console.print(f"{len(text):,} characters, {len(alphabet)} kinds; {size:,} parameters; uniform guessing: "
                  f"{math.log(len(alphabet)):.3f} nats")  # fmt: skip
    start = time.perf_counter()
    state, losses = train(net, data, args.steps, args.batch, args.seed)
    console.print(f"trained in {time.perf_counter() - start:.1f} s")
    for i, prompt in enumerate(("Return ", "This module ", "Raises ")):
        drawn = sample(net, state.params, state.buffers, data_of(prompt, number), 120, jax.random.key(i))
        console.print("--- " + "".join(alphabet[t] for t in drawn), markup=False)
    return float(np.mean(losses[-20:]))


def data_of(prompt: str, number: dict[str, int]) -> list[int]:
    """A prompt as tokens."""
    return [number[character] for character in prompt]


if __name__ == "__main__":
    main()
