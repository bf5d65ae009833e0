"""Checkpointer: the newest whole checkpoint of a run, whatever happened to the others."""

import os
import re
import socket
import subprocess
import sys
import textwrap
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stateful as nn
import transforms
from purenn import layers as L
from stateful import checkpointer_files as files

KEY = jax.random.key(0)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = (jax.random.key_data(k) if jnp.issubdtype(k.dtype, jax.dtypes.extended) else k for k in (x, y))
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def state(step=0):
    return {"w": jnp.full((3,), float(step)), "n": jnp.int32(step), "key": jax.random.key(step)}


@pytest.fixture(scope="module")
def training():
    """A TrainState with optimizer moments and running statistics."""
    model = L.Sequential(L.Linear(3, 4), L.BatchNorm1d(4), L.Dropout(0.5))
    trainer = transforms.train_step(model, lambda m, x: (m(x) ** 2).mean(), optax.adam(1e-2), donate=False)
    return trainer.step(trainer.init(KEY), jnp.ones((5, 3)))[0]


@pytest.mark.parametrize("asynchronous", [True, False])
def test_a_state_comes_back_as_it_was(tmp_path, training, asynchronous):
    run = nn.Checkpointer(tmp_path / "a" / "run", asynchronous=asynchronous)
    run.save(training, 7, extra={"epoch": 1, "rows": [{"loss": 0.1}]}, metrics={"loss": np.float32(0.5)})
    found = run.restore(training)
    equal(found.state, training)
    assert found[1:] == (7, {"epoch": 1, "rows": [{"loss": 0.1}]}, {"loss": 0.5})
    assert run.latest() == 7
    assert nn.load(run.path(7))["state.params.0.weight"].shape == (4, 3)  # an ordinary safetensors file


def test_a_folder_that_is_made_is_synced_into_those_around_it(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("stateful.checkpointer.sync_folder", synced.append)
    for _ in range(2):
        nn.Checkpointer(tmp_path / "a" / "run")
        assert synced == [tmp_path / "a", tmp_path]


def test_without_a_target_names_are_flat(tmp_path):
    with nn.Checkpointer(tmp_path) as run:
        run.save(state(3), 3)
    found = nn.Checkpointer(tmp_path).restore()
    assert sorted(found.state) == ["key", "n", "w"]
    assert found.step == 3


def test_a_state_may_be_donated_as_soon_as_save_returns(tmp_path):
    run = nn.Checkpointer(tmp_path)
    consume = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = jnp.arange(100_000.0)
    for step in range(3):
        run.save({"x": x}, step)
        x = consume(x)
    for step in range(3):
        np.testing.assert_array_equal(run.restore({"x": x}, step=step).state["x"], np.arange(100_000.0) + step)
    host = np.zeros(4)
    run.save({"x": host}, 9)
    host[:] = 1
    assert not run.restore({"x": host}).state["x"].any()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [7, 8, 9]),
        ({"keep_last": 1}, [9]),
        ({"keep_last": None}, [*range(10)]),
        ({"keep_last": 2, "keep_every": 4}, [0, 4, 8, 9]),
        ({"keep_last": 1, "keep_best": ("loss", "min")}, [3, 9]),
        ({"keep_last": 1, "keep_best": ("loss", "max")}, [5, 9]),
    ],
    ids=str,
)
def test_what_stays(tmp_path, options, kept):
    losses = [5, 4, 3, 1, 2, 9, float("nan"), 7, 8, 6]
    run = nn.Checkpointer(tmp_path, asynchronous=False, **options)
    for step in range(10):
        run.save({"w": jnp.ones(())}, step, metrics={"loss": losses[step]})
        if step == 6:
            run = nn.Checkpointer(tmp_path, asynchronous=False, **options)  # another process knows as much
    assert run.steps() == kept


def test_a_step_saved_twice_is_replaced(tmp_path):
    run = nn.Checkpointer(tmp_path)
    for value in (1, 2):
        run.save({"w": jnp.full((), float(value))}, 5)
    assert run.restore({"w": jnp.ones(())}).state["w"] == 2
    assert run.steps() == [5]


def test_a_broken_newest_checkpoint_is_passed_over_with_a_warning_that_names_it(tmp_path):
    run = nn.Checkpointer(tmp_path, asynchronous=False)
    for step in (1, 2, 3):
        run.save(state(step), step)
    content = bytearray(run.path(3).read_bytes())
    content[-1] ^= 1
    run.path(3).write_bytes(content)
    run.path(2).write_bytes(b"short")
    with pytest.warns(UserWarning, match=r"restore: .*step-.\.safetensors is passed over") as caught:
        found = run.restore(state())
    assert [re.search(r"step-\d", str(w.message))[0] for w in caught] == ["step-3", "step-2"]
    assert found.step == 1
    equal(found.state, state(1))
    with pytest.raises(nn.CheckpointError):
        run.restore(state(), step=3)
    run.path(1).write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="is passed over"),
        refused(nn.CheckpointError, "is whole; tried steps [1, 2, 3]"),
    ):
        run.restore(state())


def test_litter_of_killed_savers_is_removed_and_foreign_files_stay(tmp_path):
    (tmp_path / ".step-4.safetensors.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "step-x.safetensors").write_text("mine too")
    with nn.Checkpointer(tmp_path) as run:
        run.save(state(), 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "step-5.safetensors", "step-x.safetensors"]
    assert run.steps() == [5]


def test_another_structure_is_an_error_and_not_a_broken_file(tmp_path):
    run = nn.Checkpointer(tmp_path, asynchronous=False)
    run.save(state(), 1)
    with refused(ValueError, "state.other"):
        run.restore({**state(), "other": jnp.ones(2)})
    with refused(ValueError, "state.w"):
        run.restore({**state(), "w": jnp.ones(4)})


def test_an_error_of_a_save_comes_up_at_the_next_call(tmp_path, monkeypatch):
    run = nn.Checkpointer(tmp_path)
    run.save(state(), 1)
    run.wait()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "save", full)
    run.save(state(), 2)
    with pytest.raises(OSError, match="No space left"):
        run.save(state(), 3)
    monkeypatch.undo()
    run.wait()
    assert run.restore(state()).step == 1
    run.save(state(), 4)
    assert run.restore(state()).step == 4


def test_checkpointer_refuses(tmp_path):
    run = nn.Checkpointer(tmp_path)
    for step in (-1, 1.5, True, "3"):
        with refused(ValueError, f"save: step must be an integer that is not negative, got step={step!r}."):
            run.save(state(), step)
    with refused(TypeError, "state.f must be an array, got state.f='function'."):
        run.save({"f": lambda: 0}, 1, block=True)
    with refused(FileNotFoundError, f"restore: there must be a checkpoint, got directory='{tmp_path}' and step=None"):
        run.restore(state())
    with refused(FileNotFoundError, "and step=8 and steps=[]."):
        run.restore(state(), step=8)
    with refused(ValueError, 'Checkpointer: backend must be "files", "orbax" or None, got backend=\'s3\'.'):
        nn.Checkpointer(tmp_path, backend="s3")
    with refused(ValueError, "Checkpointer: keep_last must be a positive integer or None, got keep_last=0."):
        nn.Checkpointer(tmp_path, keep_last=0)
    with refused(ValueError, "Checkpointer: keep_every must be a positive integer or None, got keep_every=True."):
        nn.Checkpointer(tmp_path, keep_every=True)
    with refused(ValueError, 'Checkpointer: keep_best must be (metric, "min") or (metric, "max"), got keep_best='):
        nn.Checkpointer(tmp_path, keep_best=("loss", "lowest"))


def test_restores_onto_another_number_of_devices(tmp_path):
    code = """
    import sys, jax, jax.numpy as jnp, stateful as nn
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    place = jax.NamedSharding(mesh, jax.P("d"))
    whole = jax.NamedSharding(mesh, jax.P())
    like = {"x": jax.device_put(jnp.zeros(12), place), "y": jax.device_put(jnp.zeros(3), whole)}
    run = nn.Checkpointer(sys.argv[1])
    if run.latest() is None:
        run.save({"x": like["x"] + jnp.arange(12.0), "y": like["y"] + 2}, 1)
    else:
        found = run.restore(like).state
        assert found["x"].sharding == like["x"].sharding, found["x"].sharding
        assert found["x"].tolist() == list(range(12)) and found["y"].tolist() == [2, 2, 2]
    """
    for count in (4, 3):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
        run_python(code, tmp_path, flags)


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "raise RuntimeError('boom')"])
def test_an_end_right_after_a_save_loses_nothing(tmp_path, end):
    code = f"""
    import sys, jax.numpy as jnp, stateful as nn
    from stateful import checkpointer_files as checkpointer
    import time
    write = checkpointer.save
    checkpointer.save = lambda *args: (time.sleep(0.5), write(*args))
    nn.Checkpointer(sys.argv[1]).save({{"x": jnp.arange(1000.0)}}, 5)
    {end}
    """
    done = run_python(code, tmp_path, check=False)
    assert done.returncode == {"pass": 0, "sys.exit(3)": 3}.get(end, 1)
    found = nn.Checkpointer(tmp_path).restore({"x": jnp.zeros(1000)})
    np.testing.assert_array_equal(found.state["x"], np.arange(1000.0))


def test_a_failure_that_nobody_asked_about_is_told_of_at_the_end(tmp_path):
    code = """
    import sys, jax.numpy as jnp, stateful as nn
    from stateful import checkpointer_files as checkpointer
    def full(*args):
        raise OSError("the disk is full")
    checkpointer.save = full
    nn.Checkpointer(sys.argv[1]).save({"x": jnp.ones(3)}, 5)
    """
    done = run_python(code, tmp_path, check=False)
    assert f"the last save into {tmp_path} failed: the disk is full" in done.stderr


def run_python(code, folder, env=(), check=True):

    environment = {**os.environ, **dict(env)}
    call = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, env=environment, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


# --------------------------------------------------------------------------------------------------------------- orbax


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_orbax_keeps_the_same_promises_on_one_host(tmp_path, training):
    run = nn.Checkpointer(tmp_path, backend="orbax", keep_last=2)
    for step in (1, 2, 3):
        run.save(training, step, extra={"at": step}, metrics={"loss": 1.0})
    assert run.steps() == [2, 3]
    found = nn.Checkpointer(tmp_path, backend="orbax").restore(training)
    equal(found.state, training)
    assert found[1:] == (3, {"at": 3}, {"loss": 1.0})
    assert run.restore(step=2).state["['params']['0']['weight']".replace("['params']", ".params", 1)].shape == (4, 3)
    with refused(ValueError, "restore: the state must have the structure that"):
        run.restore(training._replace(params={}))
    for file in (tmp_path / "3").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.warns(UserWarning, match="is passed over"):
        assert run.restore(training).step == 2


def test_orbax_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with refused(ImportError, 'Checkpointer: orbax must be installed. pip install "purenn[orbax]" brings it.'):
        nn.Checkpointer(tmp_path, backend="orbax")


def test_several_hosts_save_together_and_one_restores(tmp_path):
    code = """
    import sys, jax, jax.numpy as jnp, numpy as np
    folder, port, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, rank, coordinator_bind_address=f"127.0.0.1:{port}")
    import stateful as nn
    mesh = jax.make_mesh((jax.device_count(),), ("d",))
    make = lambda spec, scale: jax.make_array_from_callback(
        (8,), jax.NamedSharding(mesh, spec), lambda index: np.arange(8.0, dtype=np.float32)[index] * scale)
    state = lambda scale: {"split": make(jax.P("d"), scale), "whole": make(jax.P(), scale), "step": jnp.int32(scale),
                           "key": jax.random.key(scale), "none": {}}
    run = nn.Checkpointer(folder)
    run.save(state(3), 3, extra={"seen": 5})
    found = run.restore(state(0))
    assert (found.step, found.extra) == (3, {"seen": 5})
    for name in ("split", "whole"):
        for shard in found.state[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, 3 * np.arange(8.0)[shard.index])
    assert int(found.state["step"]) == 3
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    call = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), str(tmp_path), port]
    hosts = [
        subprocess.Popen([*call, str(rank)], env=environment, stderr=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    errors = [host.communicate(timeout=120)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], errors
    like = {"split": jnp.zeros(8), "whole": jnp.zeros(8), "step": jnp.int32(0), "key": jax.random.key(0), "none": {}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # orbax's own
        found = nn.Checkpointer(tmp_path, backend="orbax").restore(like).state
    np.testing.assert_array_equal(found["split"], 3 * np.arange(8.0))
    np.testing.assert_array_equal(jax.random.key_data(found["key"]), jax.random.key_data(jax.random.key(3)))
