"""Cold starts: imports, initialisation, and the construction of a huge model. Each figure from fresh processes.

python benchmarks/start.py
"""

import statistics
import subprocess
import sys

PRELUDE = """
import time, resource
def cpu(): return time.process_time()
start = cpu()
"""

RESNET = """
import jax, jax.numpy as jnp
import purenn.functional as F
import stateful as nn
class Block(nn.Module):
    def __init__(self, a, b, s):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, s, 1, bias=False); self.bn1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, 1, 1, bias=False); self.bn2 = nn.BatchNorm2d(b)
        if s != 1 or a != b:
            self.downsample = nn.Sequential(nn.Conv2d(a, b, 1, s, bias=False), nn.BatchNorm2d(b))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False); self.bn1 = nn.BatchNorm2d(64)
        widths = [64, 64, 128, 256, 512]
        for i in range(4):
            stride = 1 if i == 0 else 2
            setattr(self, f"layer{i + 1}", nn.Sequential(Block(widths[i], widths[i + 1], stride),
                                                         Block(widths[i + 1], widths[i + 1], 1)))
        self.fc = nn.Linear(512, 1000)
"""

GPT = """
import jax, jax.numpy as jnp
import stateful as nn
class Block(nn.Module):
    def __init__(self, w):
        super().__init__()
        self.ln1 = nn.LayerNorm(w); self.qkv = nn.Linear(w, 3 * w); self.proj = nn.Linear(w, w)
        self.ln2 = nn.LayerNorm(w); self.up = nn.Linear(w, 4 * w); self.down = nn.Linear(4 * w, w)
class Net(nn.Module):
    def __init__(self, w=768, depth=12, vocabulary=50257):
        super().__init__()
        self.wte = nn.Embedding(vocabulary, w); self.wpe = nn.Embedding(1024, w)
        self.h = nn.ModuleList([Block(w) for _ in range(depth)])
        self.ln = nn.LayerNorm(w)
"""

OURS = """
net = Net(); key = jax.random.key(0); start = cpu(); jax.block_until_ready(net.init(key)); print(cpu() - start)
"""
LOOK = """
net = Net(); key = jax.random.key(0); start = cpu(); jax.block_until_ready(net.split()); print(cpu() - start)
"""
# what a library does that draws each array by its own call of jax.random
EAGER = """
import math
from purenn import tree
leaves = tree.flatten(Net().structure()); key = jax.random.key(0)
start = cpu()
keys = jax.random.split(key, len(leaves)); out = {}
for k, (path, leaf) in zip(keys, leaves.items()):
    if not leaf.trainable or len(leaf.shape) < 2:
        out[path] = jnp.zeros(leaf.shape, leaf.dtype)
    elif "wte" in path or "wpe" in path:
        out[path] = jax.random.normal(k, leaf.shape)
    else:
        bound = 1 / math.sqrt(math.prod(leaf.shape[1:]))
        out[path] = jax.random.uniform(k, leaf.shape, minval=-bound, maxval=bound)
jax.block_until_ready(out); print(cpu() - start)
"""

HUGE = """
import resource, jax, stateful as nn
class Block(nn.Module):
    def __init__(self, w, f):
        super().__init__()
        self.q = nn.Linear(w, w, bias=False); self.k = nn.Linear(w, w, bias=False)
        self.v = nn.Linear(w, w, bias=False); self.o = nn.Linear(w, w, bias=False)
        self.gate = nn.Linear(w, f, bias=False); self.up = nn.Linear(w, f, bias=False)
        self.down = nn.Linear(f, w, bias=False); self.n1 = nn.LayerNorm(w); self.n2 = nn.LayerNorm(w)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(32000, 4096)
        self.layers = nn.ModuleList([Block(4096, 11008) for _ in range(32)])
        self.head = nn.Linear(4096, 32000, bias=False); self.head.weight = self.embed.weight
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter(); net = Net(); took = time.perf_counter() - start
from purenn import tree
print(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, tree.count(net.structure()) / 1e9)
"""


def run(code: str) -> list[float]:
    """The numbers that a fresh process prints."""
    out = subprocess.run([sys.executable, "-c", PRELUDE + code], check=True, capture_output=True, text=True).stdout
    return [float(number) for number in out.split()]


def interleaved(codes: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each, in turns."""
    times: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            times[name] += run(code)
    return times


if __name__ == "__main__":
    imports = {name: f"import {name}; print(cpu() - start)" for name in ("jax", "purenn", "stateful")}
    for name, seconds in interleaved(imports, 7).items():
        print(f"import {name}: {statistics.median(seconds):.2f} s of processor time")
    for title, model in (("ResNet-18", RESNET), ("12-layer GPT", GPT)):
        codes = {"init": model + OURS, "first look": model + LOOK, "each eagerly": model + EAGER}
        medians = {name: statistics.median(s) for name, s in interleaved(codes, 3).items()}
        for name in ("init", "first look"):
            print(f"{title}, cold, {name}: {medians[name]:.2f} s, {medians[name] / medians['each eagerly']:.2f} of "
                  f"drawing each array eagerly ({medians['each eagerly']:.2f} s)")  # fmt: skip
    took, memory, size = run(HUGE)
    print(f"constructing {size:.2f} billion parameters: {took:.2f} s, {memory:.0f} MB")
