"""A run that goes on: from torch to a TrainState and back, the next losses are the same."""

# ruff: noqa: E501 -- error texts stand whole, each on its line

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import stateful as nn
import transforms
from purenn import functional as F

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((200, 16, 6)).astype(np.float32), RNG.integers(0, 4, (200, 16))


def layers(t):
    return t.Sequential(t.Linear(6, 16), t.BatchNorm1d(16), t.Tanh(), t.Linear(16, 4))


OPTIMIZERS = {
    "sgd": (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9), lambda: optax.sgd(0.05, momentum=0.9), {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01), lambda: optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.05, momentum=0.9, nesterov=True)), {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": (lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.99)), lambda: optax.adam(0.01, b1=0.8, b2=0.99), {"lr": 0.01, "betas": (0.8, 0.99)}),
    "adamw": (lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1), lambda: optax.adamw(optax.constant_schedule(0.01), weight_decay=0.1), {"lr": 0.01, "weight_decay": 0.1}),
}  # fmt: skip


def torch_steps(net, optimizer, first, count):
    losses = []
    for x, y in zip(X[first : first + count], Y[first : first + count], strict=True):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def jax_steps(trainer, state, first, count):
    losses = []
    for x, y in zip(X[first : first + count], Y[first : first + count], strict=True):
        state, metrics = trainer.step(state, (jnp.asarray(x), jnp.asarray(y)))
        losses.append(float(metrics["loss"]))
    return losses, state


def loss(m, batch):
    return F.cross_entropy(m(batch[0]), batch[1])


@functools.cache
def trained_here(name):
    net = layers(nn)
    return net, transforms.train_step(net, loss, OPTIMIZERS[name][1](), donate=False)


def there_and_back(tmp_path, name, steps):
    """Largest relative differences of the losses: here after torch, and in torch after here."""
    make, _, options = OPTIMIZERS[name]
    torch.manual_seed(0)
    theirs = layers(torch.nn)
    optimizer = make(theirs.parameters())
    torch_steps(theirs, optimizer, 0, 7)
    torch.save({"model": theirs.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, tmp_path / "a.pt")
    net, trainer = trained_here(name)
    state = nn.load_torch_training(tmp_path / "a.pt", trainer.init(KEY), net)
    assert int(state.step) == (0 if name in ("sgd", "nesterov") else 7)
    expected = torch_steps(theirs, optimizer, 7, steps)
    got, state = jax_steps(trainer, state, 7, steps)
    here = np.max(np.abs(np.array(got) / expected - 1))

    kind = {"nesterov": "sgd"}.get(name, name)
    nn.save_torch_training(tmp_path / "b.pt", state, net, kind, **options)
    content = torch.load(tmp_path / "b.pt", weights_only=True)
    again = layers(torch.nn)
    again.load_state_dict(content["model"], strict=True)
    optimizer_again = make(again.parameters())
    optimizer_again.load_state_dict(content["optimizer"])
    assert content["step"] == int(state.step)
    expected = torch_steps(theirs, optimizer, 7 + steps, steps)
    got = torch_steps(again, optimizer_again, 7 + steps, steps)
    return here, np.max(np.abs(np.array(got) / expected - 1))


@pytest.mark.parametrize("name", ["nesterov", "adam", "adamw"])
def test_the_losses_go_on(tmp_path, name):
    # measured over 96 steps, there and back: at most 4.7e-7
    assert max(there_and_back(tmp_path, name, 15)) < 5e-6


@pytest.mark.sweep
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_hundred_losses(tmp_path, name):
    assert max(there_and_back(tmp_path, name, 96)) < 5e-6


def test_the_differences_show_when_a_part_is_left_out(tmp_path):
    make = OPTIMIZERS["adam"][0]
    theirs = layers(torch.nn)
    optimizer = make(theirs.parameters())
    torch_steps(theirs, optimizer, 0, 7)
    torch.save({"model": theirs.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "a.pt")
    net, trainer = trained_here("adam")
    fresh = trainer.init(KEY)
    state = nn.load_torch_training(tmp_path / "a.pt", fresh, net)
    expected = torch_steps(theirs, optimizer, 7, 5)
    adam, rest = state.opt_state[0], state.opt_state[1:]
    empty = jax.tree.map(jnp.zeros_like, adam.mu)
    broken = [
        state._replace(opt_state=(part, *rest))
        for part in (adam._replace(mu=empty), adam._replace(nu=empty), adam._replace(count=adam.count * 0))
    ]
    for other in (*broken, state._replace(params=fresh.params)):
        assert np.max(np.abs(np.array(jax_steps(trainer, other, 7, 5)[0]) / expected - 1)) > 1e-3


def checkpoint(tmp_path, net=None, optimizer=None, **changes):
    theirs = layers(torch.nn) if net is None else net
    optimizer = torch.optim.Adam(theirs.parameters(), 0.01) if optimizer is None else optimizer(theirs.parameters())
    torch_steps(theirs, optimizer, 0, 2)
    content = {"model": theirs.state_dict(), "optimizer": optimizer.state_dict()}
    for change in changes.values():
        change(content)
    torch.save(content, tmp_path / "a.pt")
    return theirs


def started(optimizer, net=None):
    net = layers(nn) if net is None else net
    return net, transforms.train_step(net, loss, optimizer).init(KEY)


def test_groups_older_counters_and_frozen_parameters(tmp_path):
    def groups(p):
        p = [*p]
        return torch.optim.Adam([{"params": p[:1]}, {"params": p[1:], "lr": 0.1}], 0.01)

    def older(content):
        for state in content["optimizer"]["state"].values():
            state["step"] = int(state["step"])

    theirs = checkpoint(tmp_path, optimizer=groups, older=older)
    for freeze in (False, True):  # torch's optimizer may have frozen parameters, or leave them out
        net = layers(nn)
        if freeze:
            net[0].requires_grad_(False)
        net, state = started(
            optax.chain(optax.clip(1.0), optax.masked(optax.adam(0.01), lambda p: jax.tree.map(lambda x: True, p))), net
        )
        state = nn.load_torch_training(tmp_path / "a.pt", state, net)
        assert int(state.step) == 2
        adam = state.opt_state[1].inner_state[0]
        assert int(adam.count) == 2
        assert adam.mu["3"]["weight"].shape == (4, 16)
        assert np.any(adam.nu["3"]["bias"])
        np.testing.assert_array_equal(
            (state.buffers if freeze else state.params)["0"]["weight"], theirs[0].weight.detach()
        )
    assert int(nn.load_torch_training(tmp_path / "a.pt", state, net, step=9).step) == 9


def test_parameters_without_gradients_and_a_run_that_has_not_begun(tmp_path):
    theirs = layers(torch.nn)
    torch.save(
        {
            "model": theirs.state_dict(),
            "optimizer": torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9).state_dict(),
        },
        tmp_path / "a.pt",
    )
    net, state = started(optax.sgd(0.1, momentum=0.9))
    state = nn.load_torch_training(tmp_path / "a.pt", state, net)
    assert not any(np.any(x) for x in jax.tree.leaves(state.opt_state))
    nn.save_torch_training(tmp_path / "b.pt", state, net, "sgd", lr=0.1)
    assert torch.load(tmp_path / "b.pt", weights_only=True)["optimizer"]["state"] == {}
    nn.save_torch_training(tmp_path / "b.pt", started(optax.adam(0.1))[1], net, "adam", lr=0.1)
    assert torch.load(tmp_path / "b.pt", weights_only=True)["optimizer"]["state"] == {}
    nn.save_torch_training(tmp_path / "b.pt", started(optax.sgd(0.1))[1], net, "sgd", lr=0.1)
    assert torch.load(tmp_path / "b.pt", weights_only=True)["optimizer"]["state"] == {}


def drop(key):
    return lambda content: [state.pop(key) for state in content["optimizer"]["state"].values()]


def test_what_has_no_counterpart(tmp_path):
    def refused(words, optimizer=None, kind=ValueError, net=None, **options):
        net, state = started(optax.adam(0.01) if optimizer is None else optimizer, net)
        with pytest.raises(kind, match="^" + re.escape(words)):
            nn.load_torch_training(tmp_path / "a.pt", state, net, **options)

    checkpoint(tmp_path)
    refused(
        "load_torch_training: prefix must begin a name, got prefix='net.'. Names are like 'model.0.weight',",
        model_key="net",
    )
    refused(
        "load_torch_training: opt_state must be of optax.sgd, adam or adamw, with schedules, got other arrays=['0.nu.0.bias',",
        optax.rmsprop(0.1),
    )
    refused(
        "load_torch_training: the optimizer of the file must keep momentum_buffer, as the state does, got path=",
        optax.sgd(0.1, momentum=0.9),
    )
    refused("load_torch_training: '", kind=nn.MisfitError, net=nn.Sequential(nn.Linear(6, 4)))
    refused(
        "load_torch_training: '",
        kind=nn.MisfitError,
        net=nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 5)),
    )
    for option, optimizer in (("maximize", {"maximize": True}), ("amsgrad", {"amsgrad": True})):
        checkpoint(tmp_path, optimizer=lambda p, o=optimizer: torch.optim.Adam(p, 0.01, **o))
        refused(f"load_torch_training: {option} must be off, because optax has no state for it, got {option}=True.")
    checkpoint(tmp_path, optimizer=lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.5))
    refused(
        "load_torch_training: dampening must be off, because optax has no state for it, got dampening=0.5.",
        optax.sgd(0.1, momentum=0.9),
    )
    checkpoint(tmp_path, optimizer=lambda p: torch.optim.Adam([*p][:2], 0.01))
    refused(
        "load_torch_training: the optimizer must have the parameters of the model, got in the file=2 and in the model=6 and of them trained=6."
    )
    checkpoint(tmp_path, change=lambda c: c["optimizer"]["state"][1].update(step=torch.tensor(1.0)))
    refused(
        "load_torch_training: all parameters must have done the same steps, got steps=[1, 2] and names=['0.bias']. optax has one counter for all;"
    )
    checkpoint(tmp_path, change=lambda c: c["optimizer"]["state"][1].update(exp_avg=torch.ones(3)))
    refused("load: exp_avg must have the shape of its parameter, got path=", kind=nn.CheckpointError)
    checkpoint(
        tmp_path, change=lambda c: [s.update(step=torch.tensor(2.0**40)) for s in c["optimizer"]["state"].values()]
    )
    refused("load_torch_training: int32 must hold the counters, got value=1099511627776.")


@pytest.mark.parametrize(
    ("optimizer", "kind", "options", "words"),
    [
        (optax.adam(0.1), "rmsprop", {"lr": 1}, "optimizer must be one of sgd, adam, adamw, got optimizer='rmsprop'."),
        (optax.adam(0.1), "adam", {}, "lr must be given: torch keeps it with the state, got options=[]."),
        (optax.adam(0.1), "adam", {"lr": 1, "momentum": 1}, "options must be those of torch's adam, got unknown=['momentum']. They are lr, betas, eps,"),
        (optax.adam(0.1), "sgd", {"lr": 1}, "opt_state must be one of optax's sgd, got optimizer='sgd' and states=['ScaleByAdamState']."),
        (optax.sgd(0.1), "adam", {"lr": 1}, "opt_state must be one of optax's adam, got optimizer='adam' and states=[]."),
        (optax.rmsprop(0.1), "adam", {"lr": 1}, "opt_state must be of optax.sgd, adam or adamw, with schedules, got other arrays=['0.nu.0.bias'"),
    ],
)  # fmt: skip
def test_what_torch_cannot_go_on_with(tmp_path, optimizer, kind, options, words):
    net, state = started(optimizer)
    with pytest.raises(ValueError, match="^save_torch_training: " + re.escape(words)):
        nn.save_torch_training(tmp_path / "a.pt", state, net, kind, **options)
    assert not (tmp_path / "a.pt").exists()
