"""Hooks of state_dict and load_state_dict, the same functions in both worlds."""

import copy

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import stateful as nn


def net(world):
    """Two layers in a module, all of them hooked."""
    seen = []
    module = world.Sequential(world.Linear(2, 2), world.BatchNorm1d(2))
    for name, part in (("root", module), ("child", module[1])):
        part.register_state_dict_pre_hook(lambda m, prefix, keep, name=name: seen.append((name, "pre", prefix)))
        part.register_state_dict_post_hook(
            lambda m, state, prefix, meta, name=name: seen.append((name, "post", prefix))
        )
    return module, seen


def test_saving_hooks_run_as_torchs():
    (ours, mine), (theirs, wanted) = net(nn), net(torch.nn)
    assert list(ours.state_dict(prefix="x.")) == list(theirs.state_dict(prefix="x."))
    assert sorted(mine) == sorted(wanted)
    assert mine.index(("child", "post", "x.1.")) < mine.index(("root", "post", "x."))


def rename(module):
    """Old checkpoints said gamma."""

    def hook(state, prefix, meta, strict, missing, unexpected, errors):
        if prefix + "gamma" in state:
            state[prefix + "weight"] = state.pop(prefix + "gamma")

    return module._register_load_state_dict_pre_hook(hook)


def drop_extra(module, state, prefix, meta):
    state.pop(prefix + "running_mean")
    return state


def forgive(module, incompatible):
    incompatible.missing_keys.clear()


@pytest.mark.parametrize("world", [nn, torch.nn], ids=["ours", "torch"])
def test_loading_hooks_edit_the_state_dict_and_forgive(world):
    module = world.BatchNorm1d(2)
    saving = module._register_state_dict_hook(drop_extra)
    state = module.state_dict()
    assert "running_mean" not in state
    saving.remove()
    assert "running_mean" in module.state_dict()
    state = dict(state)
    state["gamma"] = state.pop("weight") * 3
    before = dict(state)
    rename(module)
    with pytest.raises((ValueError, RuntimeError), match="running_mean"):
        module.load_state_dict(state)
    module.register_load_state_dict_post_hook(forgive)
    assert module.load_state_dict(state).missing_keys == []
    assert list(state) == list(before)
    np.testing.assert_array_equal(np.asarray(module.weight.tolist()), [3.0, 3.0])
    assert copy.deepcopy(module).load_state_dict(state).missing_keys == []


class Renames(nn.Module):
    """Overrides torch's method, as old files do."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def _load_from_state_dict(self, state_dict, prefix, *args):
        for key in [key for key in state_dict if key.startswith(prefix + "linear.")]:
            state_dict[key.replace("linear.", "fc.")] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)


def test_a_module_may_override_the_loading_of_its_part():
    outer = nn.Sequential(Renames(), nn.ReLU())
    outer.load_state_dict({"0.linear.weight": jnp.ones((2, 2)), "0.linear.bias": jnp.zeros(2)})
    np.testing.assert_array_equal(outer[0].fc.weight, jnp.ones((2, 2)))


def test_what_hooks_refuse_changes_nothing():
    module = nn.Linear(2, 2)
    before = module.weight
    module.register_load_state_dict_pre_hook(
        lambda m, state, prefix, meta, strict, a, b, errors: errors.append("too old")
    )
    with pytest.raises(ValueError, match=r"Linear\.load_state_dict: hooks must accept .*too old.*Nothing was changed"):
        module.load_state_dict({"weight": jnp.ones((2, 2)), "bias": jnp.ones(2)})
    assert module.weight is before
    told = nn.Linear(2, 2)
    before = told.weight
    told.register_load_state_dict_post_hook(lambda m, keys: None)
    with pytest.raises(ValueError, match=r"must have the module's names, got missing=\['bias'\].*Nothing was changed"):
        told.load_state_dict({"weight": jnp.ones((2, 2))})
    np.testing.assert_array_equal(told.weight, before)
