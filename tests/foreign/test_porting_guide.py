"""The pairs of blocks in docs/porting.md: each is run in its world, and what it calls ``result`` compared."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rewriting
import torch

import stateful as nn

PAIR = re.compile(r"### ([^\n]*)\n(?:(?!\n### ).)*?```python torch\n(.*?)```\n\n```python purenn\n(.*?)```", re.DOTALL)
PAIRS = PAIR.findall(rewriting.GUIDE.read_text())


def as_numpy(value):
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    return np.asarray(value) if isinstance(value, (jax.Array, np.generic)) else value


def compare(ours, theirs, where):
    ours, theirs = as_numpy(ours), as_numpy(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs), where
        ours, theirs = list(ours.values()), list(theirs.values())
    if isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for a, b in zip(ours, theirs, strict=True):
            compare(a, b, where)
    elif isinstance(theirs, (np.ndarray, float)):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5, err_msg=where)
    else:
        assert ours == theirs, where


def test_every_pair_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    nn.manual_seed(0)
    worlds = {"__name__": "torch_blocks"}, {"__name__": "purenn_blocks"}
    for title, *blocks in PAIRS:
        for world, block in zip(worlds, blocks, strict=True):
            exec(compile(block, title, "exec"), world)
        compare(worlds[1]["result"], worlds[0]["result"], title)
    text = rewriting.GUIDE.read_text()
    assert len(PAIRS) == text.count("```python torch\n") == text.count("```python purenn\n") > 12


def test_the_comparison_can_fail():
    with pytest.raises(AssertionError, match="here"):
        compare([jnp.ones(2)], [torch.zeros(2)], "here")
    with pytest.raises(AssertionError, match="here"):
        compare({"a": 1}, {"b": 1}, "here")
