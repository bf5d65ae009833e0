"""Saving and loading: ratios to a plain write + fsync, and a plain read, within one interleaved run.

python benchmarks/checkpoint.py [--arrays 150] [--bytes 1000000000] [--rounds 5]

Each round runs everything once, in turn, in fresh processes that hold the arrays already; the page cache is warm. Of
every ratio the median over the rounds is printed, by wall time and by processor time; memory is what a process held at
its peak beyond the arrays, as a multiple of them. --small is 5,000 arrays of 20 kB.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

PRELUDE = """
import json, os, shutil, sys, time
import numpy as np
import jax, jax.numpy as jnp
folder, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fill = np.random.default_rng(0).standard_normal(size // 4, dtype=np.float32)
def arrays(): return {f"layer{i}.weight": fill + i for i in range(count)}
def jaxes(): return jax.block_until_ready({n: jnp.array(x) for n, x in arrays().items()})
def memory(kind):  # Linux: VmRSS is now, VmHWM the peak since it was last set back
    line = next(line for line in open("/proc/self/status") if line.startswith(kind))
    return 1024 * int(line.split()[1])
def sync(path):
    for root, _, files in os.walk(path):
        for name in files:
            number = os.open(os.path.join(root, name), os.O_RDONLY); os.fsync(number); os.close(number)
def measure(run):
    open("/proc/self/clear_refs", "w").write("5")
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    kept = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": (memory("VmHWM") - before) / (count * size)}))
"""

SAVES = {
    "raw": """
x = arrays()
def run():
    with open(folder + "/raw", "wb", buffering=0) as f:
        for a in x.values(): f.write(a.data)
        os.fsync(f.fileno())
""",
    "purenn": """
import stateful as nn
x = jaxes()
nn.save(folder + "/warm", {"x": jnp.ones(3)})
def run(): nn.save(folder + "/ours.safetensors", x)
""",
    "safetensors": """
import safetensors.numpy
x = arrays()
def run(): safetensors.numpy.save_file(x, folder + "/theirs.safetensors"); sync(folder + "/")
""",
    "torch": """
import torch
x = {n: torch.from_numpy(a) for n, a in arrays().items()}
def run(): torch.save(x, folder + "/t.pt"); sync(folder + "/")
""",
    "orbax": """
import orbax.checkpoint as ocp
x = jaxes()
shutil.rmtree(folder + "/orbax", ignore_errors=True)
c = ocp.StandardCheckpointer()
def run(): c.save(folder + "/orbax", x); c.wait_until_finished(); sync(folder + "/orbax")
""",
}
LOADS = {
    "raw": """
def run():
    kept = []
    with open(folder + "/raw", "rb", buffering=0) as f:
        for _ in range(count):
            a = np.empty(size // 4, np.float32); f.readinto(a.data); kept.append(a)
    return kept
""",
    "purenn": """
import stateful as nn
nn.save(folder + "/warm", {"x": jnp.ones(3)}); nn.load(folder + "/warm")
def run(): return jax.block_until_ready(nn.load(folder + "/ours.safetensors"))
""",
    "purenn, unverified": """
import stateful as nn
nn.save(folder + "/warm", {"x": jnp.ones(3)}); nn.load(folder + "/warm")
def run(): return jax.block_until_ready(nn.load(folder + "/ours.safetensors", verify=False))
""",
    "safetensors": """
import safetensors.flax
jax.device_put(np.ones(3))
def run(): return jax.block_until_ready(safetensors.flax.load_file(folder + "/theirs.safetensors"))
""",
    "torch": """
import torch
def run(): return torch.load(folder + "/t.pt", weights_only=True)
""",
    "orbax": """
import orbax.checkpoint as ocp
like = {n: jax.ShapeDtypeStruct((size // 4,), jnp.float32) for n in arrays()}
c = ocp.StandardCheckpointer()
def run(): return jax.block_until_ready(c.restore(folder + "/orbax", like))
""",
}


def run(code: str, folder: str, count: int, size: int) -> dict[str, float]:
    """One measurement, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", PRELUDE + code + "measure(run)", folder, str(count), str(size)]
    root = pathlib.Path(__file__).parents[1]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, cwd=root, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=int, default=150)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--without", action="append", default=[])
    options = parser.parse_args()
    count, total = (5000, 100_000_000) if options.small else (options.arrays, options.bytes)
    size = total // count // 4 * 4
    print(f"{count} arrays of {size} bytes, {options.rounds} rounds; ratios to raw: wall, processor; memory beyond")
    for title, cases in (("save, durable", SAVES), ("load, warm", LOADS)):
        found: dict[str, list[dict[str, float]]] = {name: [] for name in cases if name not in options.without}
        with tempfile.TemporaryDirectory(dir=pathlib.Path.cwd()) as folder:
            for name in found if cases is LOADS else ():
                run(SAVES[name.split(",")[0]], folder, count, size)
            for _ in range(options.rounds):
                for name in found:
                    found[name].append(run(cases[name], folder, count, size))
        for name, results in found.items():
            ratios = {
                kind: statistics.median(mine[kind] / raw[kind] for mine, raw in zip(results, found["raw"], strict=True))
                for kind in ("wall", "cpu")
            }
            memory = statistics.median(result["peak"] for result in results)
            print(f"{title:14} {name:20} {ratios['wall']:6.2f} {ratios['cpu']:6.2f} {memory:6.2f}")


if __name__ == "__main__":
    main()
