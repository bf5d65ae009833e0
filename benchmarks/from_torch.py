"""Converted torch models against torch itself: a forward and a backward, in one interleaved run.

Run by hand: ``python benchmarks/from_torch.py [repeats] [what to leave out ...]``, models or steps. Numbers
are milliseconds of processor time on one thread;
"convert" is from_torch, "build" the first call of each (jax's or torch's compiler). torch.compile needs a C++ compiler,
the models of other libraries need transformers and timm; what is missing is said and left out.
"""

import os
import sys
import time
import warnings

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax
import jax.numpy as jnp
import torch
from torch import nn

import transforms

torch.set_num_threads(1)


class Tagger(nn.Module):
    """An LSTM in both directions over embedded words, and a tag for each."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(500, 64)
        self.lstm = nn.LSTM(64, 128, num_layers=2, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(256, 20)

    def forward(self, words):
        return self.tags(self.lstm(self.words(words))[0])


def words(n=8, length=64):
    return torch.randint(0, 500, (n, length))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=256, n_layer=4, n_head=4, vocab_size=500, n_positions=64, use_cache=False)
    return GPT2LMHeadModel(config), words(4)


def bert():
    from transformers import BertConfig, BertModel

    sizes = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    return BertModel(BertConfig(vocab_size=500, **sizes)), words(4)


def vit():
    import timm

    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 256, "depth": 4, "num_heads": 4, "num_classes": 10}
    return timm.models.VisionTransformer(**sizes), torch.randn(4, 3, 64, 64)


def resnet50():
    import timm

    return timm.create_model("resnet50", num_classes=10), torch.randn(4, 3, 64, 64)


def tagger():
    return Tagger(), words()


MODELS = {"gpt2": gpt2, "bert": bert, "vit": vit, "resnet50": resnet50, "lstm": tagger}


def first(out):
    """The tensor that the loss is made of: that of a model, or the first of its record."""
    return out if hasattr(out, "shape") else next(iter(out.values()))


def eager_step(module):
    def step(x):
        module.zero_grad()
        first(module(x)).square().mean().backward()

    return step


def compiled_step(module):
    return eager_step(torch.compile(module))


def our_step(module, x):
    model = transforms.from_torch(module, (x,))
    params, buffers = model.init()

    def loss(params, x):
        return jnp.square(first(model.apply(params, buffers, x)[0])).mean()

    step = jax.jit(jax.value_and_grad(loss))
    given = jnp.asarray(x.numpy())
    return lambda _: jax.block_until_ready(step(params, given))


def seconds(call):
    start = time.process_time()
    result = call()
    return result, 1e3 * (time.process_time() - start)


def measure(make, repeats, left_out):
    torch.manual_seed(0)
    module, x = make()
    module.eval()
    steps, figures = {}, {}
    for name, build in {"torch": lambda: eager_step(module), "torch.compile": lambda: compiled_step(module),
                        "purenn": lambda: our_step(module, x)}.items():  # fmt: skip
        if name in left_out:
            continue
        try:
            step, convert = seconds(build)
            figures[name] = [convert, seconds(lambda step=step: step(x))[1]]
            steps[name] = step
        except Exception as error:  # the compiler of torch is missing, or refuses the model
            print(f"{name} left out: {type(error).__name__}: {str(error).splitlines()[0][:90]}")
    times = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            times[name].append(seconds(lambda step=step: step(x))[1])
    return {name: [*figures[name], min(times[name])] for name in steps}


def main(repeats, left_out):
    warnings.simplefilter("ignore")
    print(f"{'model':10} {'step':14} {'convert':>9} {'build':>9} {'step':>9} {'to torch':>9}")
    for model, make in MODELS.items():
        if model in left_out:
            continue
        try:
            rows = measure(make, repeats, left_out)
        except ImportError as error:
            print(f"{model} left out: {error}")
            continue
        for name, (convert, build, step) in rows.items():
            ratio = step / rows["torch"][2]
            print(f"{model:10} {name:14} {convert:9.0f} {build:9.0f} {step:9.2f} {ratio:9.2f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:])
