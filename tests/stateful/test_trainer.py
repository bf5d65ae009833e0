"""Trainer: the loop around the training step, and what it leaves behind."""

import io
import json
import math
import os
import re
import signal
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from stateful.trainer_means import weighted_means

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(np.int64)
KEY = jax.random.key(7)


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about states and rows, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(3, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.drop(F.relu(self.norm(self.body(x)))))


def loss(m, batch):
    x, y = batch
    logits = m(x)
    return F.cross_entropy(logits, y), {"accuracy": (logits.argmax(-1) == y).mean()}


def trainer(model=None, **options):
    nn.manual_seed(0)
    return nn.Trainer(Net() if model is None else model, loss, optax.adam(1e-2), rng=KEY, **options)


DATA = nn.batches((X, Y), 8, jax.random.key(3))
QUIET = {"progress": False}


def numbers(tree):
    keys = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda leaf: np.asarray(jax.random.key_data(leaf) if keys(leaf) else leaf), tree)


def equal(a, b, compare=np.testing.assert_array_equal):
    jax.tree.map(compare, numbers(a), numbers(b))


def without_times(history):
    times = ("seconds", "steps_per_second", "examples_per_second")
    return [{name: value for name, value in row.items() if name not in times} for row in history]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    one = trainer()
    one.fit(DATA, steps=9, log_every=2, save_every=100, log=folder / "log.jsonl", checkpoint=folder / "run", **QUIET)
    return one, folder


def test_a_run_is_the_steps_of_train_step(whole):
    pair = transforms.train_step(Net(), loss, optax.adam(1e-2))
    nn.manual_seed(0)
    state, losses = pair.init(KEY, *Net().split()), []
    for _, batch in zip(range(9), DATA, strict=False):
        state, metrics = pair.step(state, jax.device_put(batch))
        losses.append(float(metrics["loss"]))
    one, _ = whole
    # skip_nonfinite makes another program of the same step, which may round differently
    equal(one.state, state, lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6))
    rows = [row for row in one.history if "loss" in row]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 9]
    np.testing.assert_allclose(rows[0]["loss"], np.mean(losses[:2]), rtol=1e-6)
    np.testing.assert_allclose(rows[-1]["loss"], losses[8], rtol=1e-6)
    assert rows[1]["epoch"] == 4 / 3
    assert list(rows[0])[:4] == ["step", "epoch", "loss", "accuracy"]


def test_the_module_holds_what_was_trained_in_memory_of_its_own(whole):
    one, folder = whole
    equal(one.module.split(), (one.state.params, one.state.buffers))
    another = trainer()
    another.fit(DATA, steps=9, checkpoint=folder / "run", **QUIET)
    kept = another.module.split()
    another.advance(jax.device_put((X[:8], Y[:8])))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(kept))


@pytest.mark.parametrize("stopped", [3, 4])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(whole, tmp_path, stopped):
    one, _ = whole
    options = {"steps": 9, "log_every": 2, "save_every": 100, "log": tmp_path / "log.jsonl", **QUIET}

    def interrupt(trainer, row):
        if row["step"] >= stopped:
            os.kill(os.getpid(), signal.SIGINT)

    first = trainer()
    options_of_first = {**options, "log_every": 1} if stopped % 2 else options
    with pytest.raises(KeyboardInterrupt):
        first.fit(DATA, checkpoint=tmp_path / "run", callbacks=[interrupt], **options_of_first)
    assert first.step == stopped
    second = trainer()
    second.fit(DATA, checkpoint=tmp_path / "run", **options)
    equal(second.state, one.state)
    if stopped % 2 == 0:
        assert without_times(second.history) == without_times(one.history)
        rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        assert without_times(rows) == without_times(one.history)


@pytest.mark.parametrize("part", ["params", "buffers", "opt_state", "rng", "step", "feed"])
def test_each_part_of_the_state_is_needed(whole, tmp_path, part, monkeypatch):
    one, _ = whole
    first = trainer()
    first.fit(DATA, steps=4, checkpoint=tmp_path, **QUIET)
    second, fresh = trainer(), trainer()
    if part == "feed":
        monkeypatch.setattr("stateful.data.Feed.set_state", lambda self, state: None)
    else:
        restore = nn.Checkpointer.restore
        other = jax.random.key(99) if part == "rng" else getattr(fresh.state, part)

        def partly(self, *args):
            found = restore(self, *args)
            return found._replace(state=found.state._replace(**{part: other}))

        monkeypatch.setattr(nn.Checkpointer, "restore", partly)
    second.fit(DATA, steps=9 - 4 * (part == "step"), checkpoint=tmp_path, **QUIET)
    same = jax.tree.map(np.array_equal, numbers(second.state), numbers(one.state))
    assert not all(jax.tree.leaves(same._replace(rng=True)))


def test_evaluation_changes_nothing_and_is_weighted_by_examples():
    one = trainer()
    before = numbers(one.state)
    uneven = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    found = one.evaluate(uneven)
    equal(one.state, before)
    logits, _ = one.module.apply(one.state.params, one.state.buffers, jnp.asarray(X))
    np.testing.assert_allclose(found["loss"], F.cross_entropy(logits, jnp.asarray(Y)), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], (logits.argmax(-1) == Y).mean(), rtol=1e-6)
    with refused(ValueError, "evaluate: batches must not be empty, got batches='list_iterator'."):
        one.evaluate(iter([]))


def test_rows_of_evaluation_and_epochs():
    one = trainer()
    history = one.fit(DATA, epochs=2, eval_batches=[(X, Y)], log_every=100, **QUIET)
    assert [(row["step"], "loss" in row, "eval_loss" in row) for row in history] == [(3, False, True), (6, True, True)]
    assert history is one.history
    steps, values = history["eval_accuracy"]
    assert steps == [3, 6]
    assert all(0 <= value <= 1 for value in values)
    with refused(KeyError, "History: no row has 'f1'; there are: accuracy, epoch, eval_accuracy"):
        history["f1"]


def test_pure_models_and_transforms_are_trained_alike():
    composed = purenn.compose(
        lambda m, x: m.head(m.drop(F.relu(m.norm(m.body(x))))),
        body=L.Linear(3, 8), norm=L.BatchNorm1d(8), drop=L.Dropout(0.2), head=L.Linear(8, 2),
    )  # fmt: skip
    pure = nn.Trainer(composed, loss, optax.adam(1e-2), rng=KEY)
    assert isinstance(pure.module, nn.Module)
    pure.fit(DATA, steps=3, **QUIET)
    frozen = trainer(transforms.freeze(Net(), "body.*"))
    before = np.array(frozen.module.state_dict()["body.weight"])
    frozen.fit(DATA, steps=3, **QUIET)
    np.testing.assert_array_equal(frozen.module.state_dict()["body.weight"], before)
    assert frozen.step == 3


def test_options_of_train_step_pass_through():
    one = trainer(accumulate=2, ema=0.9)
    one.fit(DATA, steps=3, **QUIET)
    assert one.state.ema is not None


def test_a_second_call_goes_on_in_the_data_too(whole):
    one, _ = whole
    two = trainer()
    two.fit(DATA, steps=4, log_every=2, **QUIET)
    two.fit(DATA, steps=9, log_every=2, **QUIET)
    equal(two.state, one.state)
    text = io.StringIO()
    two.fit(DATA, steps=9, console=Console(file=text, width=200))
    assert "at step 9 of 9 nothing is left to do: steps count from the first one" in text.getvalue()


# ------------------------------------------------------------------------------------------------------- any iterable


def test_lists_are_read_again_for_steps_and_once_without():
    batches = [(X[i : i + 8], Y[i : i + 8]) for i in (0, 8, 16)]
    one = trainer()
    one.fit(batches, **QUIET)
    assert one.step == 3
    one.fit(batches, steps=5, **QUIET)
    assert one.step == 5
    two = trainer()
    two.fit(batches, epochs=2, **QUIET)
    assert two.step == 6


def test_an_iterator_that_ends_early_is_told_of():
    one = trainer()
    with pytest.warns(UserWarning, match="fit: the batches ended at step 2 of 5"):
        one.fit(iter([(X[:8], Y[:8])] * 2), steps=5, **QUIET)
    assert one.step == 2


def test_callbacks_can_stop_a_run():
    seen = []

    def early(trainer, row):
        seen.append(row["step"])
        if row["step"] == 4:
            trainer.stop()

    one = trainer()
    one.fit(DATA, steps=100, log_every=2, callbacks=[early], **QUIET)
    assert one.step == 4
    assert seen == [2, 4]
    one.stop()  # nothing is under way


def test_fit_works_outside_the_main_thread():
    one, errors = trainer(), []

    def work():
        try:
            one.fit(DATA, steps=2, **QUIET)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert one.step == 2


# ----------------------------------------------------------------------------------------------------------- stopping


def test_sigterm_saves_and_ends_with_its_status(tmp_path):
    one = trainer()
    text = io.StringIO()
    ask = lambda trainer, row: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        one.fit(DATA, steps=9, log_every=3, checkpoint=tmp_path, callbacks=[ask], console=Console(file=text, width=200))
    assert caught.value.code == 143
    assert nn.Checkpointer(tmp_path).steps() == [3]
    assert "stopped at step 3, saved: the same command goes on from there." in text.getvalue()
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_without_a_folder_says_so_and_the_module_has_the_weights():
    one = trainer()
    text = io.StringIO()
    ask = lambda trainer, row: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        one.fit(DATA, steps=9, log_every=3, callbacks=[ask], console=Console(file=text, width=200))
    assert "it was not saved, fit(checkpoint=...) would have." in text.getvalue()
    equal(one.module.split(), (one.state.params, one.state.buffers))


# ---------------------------------------------------------------------------------------------------------- non-finite


def broken_at(*bad, count=9):
    for i in range(count):
        x = X[:8] * (np.nan if i in bad else 1)
        yield x.astype(np.float32), Y[:8]


def test_a_step_that_is_not_finite_never_reaches_the_state():
    one, two = trainer(), trainer()
    history = one.fit(broken_at(1), log_every=3, **QUIET)
    assert one.step == 9
    assert history[0]["nonfinite"] == 1
    assert math.isfinite(history[0]["loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((one.state.params, one.state.buffers)))
    for i, batch in enumerate(broken_at(count=9)):  # the step is counted, the rest is as if it had not been
        if i == 1:
            two.state = two.state._replace(step=two.state.step + 1)
        else:
            two.advance(jax.device_put(batch))
    equal(one.state, two.state)


def test_several_in_a_row_stop_the_run_and_name_the_place(tmp_path):
    one = trainer()
    with pytest.raises(nn.NonFiniteError) as caught:
        one.fit(broken_at(2, 3, 4, 5, 6, 7, 8), checkpoint=tmp_path, save_every=2, **QUIET)
    text = str(caught.value)
    assert "the loss must be finite, and was not for 3 steps in a row up to step 5" in text
    assert "body" in text
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(one.module.split()))
    two = trainer(max_nonfinite=None)
    two.fit(broken_at(2, 3, 4, 5, 6, 7, 8), **QUIET)
    assert two.step == 9


def test_params_that_the_optimizer_spoils_are_not_saved_and_named(tmp_path):
    for folder, words in (
        (tmp_path, "fit: params must be finite to be saved, and weight is not at step 3. Its gradients were: look at"),
        (None, "up to step 6; the first that is not finite is weight itself (6 numbers). Its gradients were: look at"),
    ):
        rate = optax.sgd(lambda n: jnp.where(n == 2, jnp.nan, 0.1))
        one = nn.Trainer(nn.Linear(3, 2, bias=False), loss, rate, rng=KEY)
        with refused(nn.NonFiniteError, words):
            one.fit(DATA, steps=9, checkpoint=folder, save_every=1, **QUIET)
    assert nn.Checkpointer(tmp_path).latest() == 2


def test_lost_steps_are_counted_and_left_out_of_the_means():
    lost = {"loss": float("nan"), "overflow": True, "nonfinite": False}
    kept = {"loss": 2.0, "overflow": False, "nonfinite": False}
    assert weighted_means([kept, lost, lost], [4, 4, 4]) == {"loss": 2.0, "overflow": 2.0}
    assert weighted_means([kept], [4]) == {"loss": 2.0}


# ------------------------------------------------------------------------------------------------------- what is told


def test_lines_where_there_is_no_terminal():
    text = io.StringIO()
    trainer().fit(DATA, steps=4, log_every=2, eval_batches=[(X, Y)], console=Console(file=text, width=200))
    lines = text.getvalue().splitlines()
    assert re.match(r"step 2/4  loss \d.*  accuracy .* steps/s .* examples/s  \d+ s left$", lines[0])
    assert re.match(r"step 3/4  eval_loss .*  eval_accuracy [\d.]+$", lines[1])


def test_a_bar_where_there_is_one():
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True)
    trainer().fit(DATA, steps=4, log_every=2, console=console)
    assert "4/4" in text.getvalue()
    assert "loss" in text.getvalue()


def test_the_log_is_json_even_where_numbers_are_not(tmp_path):
    one = trainer(max_nonfinite=None)
    one.fit(broken_at(0, 1), steps=2, log_every=1, log=tmp_path / "deep" / "log.jsonl", **QUIET)

    def strict(text):
        raise AssertionError(text)

    rows = [
        json.loads(line, parse_constant=strict) for line in (tmp_path / "deep" / "log.jsonl").read_text().splitlines()
    ]
    assert [row["loss"] for row in rows] == ["nan", "nan"]


def test_tensorboard_has_the_rows(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    trainer().fit(DATA, steps=4, log_every=2, tensorboard=tmp_path, **QUIET)
    content = next(tmp_path.iterdir()).read_bytes()
    tags, at = [], 0
    while at < len(content):  # length, its checksum, the event, its checksum
        size = int.from_bytes(content[at : at + 8], "little")
        event = Event.FromString(content[at + 12 : at + 12 + size])
        tags += [(event.step, value.tag) for value in event.summary.value]
        at += 16 + size
    assert {(2, "loss"), (4, "loss"), (4, "accuracy"), (4, "steps_per_second")} <= set(tags)


def test_tensorboard_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with refused(ImportError, 'fit: tensorboardX must be installed. pip install "purenn[tensorboard]" brings it.'):
        trainer().fit(DATA, steps=1, tensorboard=tmp_path, **QUIET)


def test_history_is_drawn(tmp_path, monkeypatch):
    one = trainer()
    one.fit(DATA, steps=6, log_every=2, eval_batches=[(X, Y)], **QUIET)
    figure = one.history.plot(path=tmp_path / "curve.png")
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["loss", "eval_loss"]
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert [axes.get_title() for axes in one.history.plot("loss").axes] == ["loss"]
    with refused(ValueError, "plot: a run must have been logged, got len(history)=0."):
        nn.History().plot()
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with refused(ImportError, 'plot: matplotlib must be installed. pip install "purenn[examples]" brings it.'):
        one.history.plot()


# ------------------------------------------------------------------------------------------------------------ refusals


def test_trainer_refuses(tmp_path):
    with refused(TypeError, "Trainer: model must be a model, not a class, got model='Net'. Call it."):
        nn.Trainer(Net, loss, optax.sgd(0.1))
    with refused(TypeError, "train_step: optimizer must be optax's, got type(optimizer)='float'."):
        nn.Trainer(Net(), loss, 0.1)
    for patience in (0, True, 1.5):
        words = "Trainer: max_nonfinite must be a positive integer, or None to go on for ever, got max_nonfinite="
        with refused(ValueError, words):
            nn.Trainer(Net(), loss, optax.sgd(0.1), max_nonfinite=patience)
    one = trainer()
    for name in ("steps", "epochs"):
        with refused(ValueError, f"fit: {name} must be an integer that is not negative, got {name}=-1."):
            one.fit(DATA, **{name: -1})
    for name in ("log_every", "eval_every", "save_every"):
        with refused(ValueError, f"fit: {name} must be a positive integer, got {name}=0."):
            one.fit(DATA, steps=1, **{name: 0})
    for batches in (None, X, (X, Y), {"x": X}, "data"):
        words = "batches must be an iterable of batches, not arrays, got type(batches)="
        with refused(TypeError, f"fit: {words}'{type(batches).__name__}'. Cut arrays into batches with nn.batches("):
            one.fit(batches, steps=1)
        with refused(TypeError, f"evaluate: {words}"):
            one.evaluate(batches)
    with refused(
        ValueError, "fit: batches to evaluate on must end, got epochs=None. nn.batches(arrays, size, epochs=1)"
    ):
        one.fit(DATA, steps=1, eval_batches=DATA)
    with pytest.warns(UserWarning, match="fit: there was no batch, and nothing was trained"):
        one.fit([], **QUIET)
    with refused(ValueError, "fit: steps or epochs must be None, got steps=1 and epochs=1."):
        one.fit(DATA, steps=1, epochs=1)
    with refused(ValueError, "fit: steps or epochs must be given, got steps=None and epochs=None. The batches go on."):
        one.fit(DATA)
    with refused(ValueError, "fit: epochs must be those of the batches, got epochs=3 and batches.epochs=2."):
        one.fit(nn.batches((X, Y), 8, epochs=2), epochs=3)
    with refused(ValueError, "fit: resume must be True, False or \"auto\", got resume='yes'."):
        one.fit(DATA, steps=1, resume="yes")
    with refused(FileNotFoundError, "fit: there must be a checkpoint to resume, got checkpoint=None."):
        one.fit(DATA, steps=1, resume=True)
    one.fit(DATA, steps=1, checkpoint=tmp_path, **QUIET)
    with refused(
        FileExistsError, f"fit: the folder must hold no run yet, got checkpoint='{tmp_path}' and its steps=[1]."
    ):
        trainer().fit(DATA, steps=1, checkpoint=tmp_path, resume=False)
    other = nn.Trainer(nn.Linear(3, 2), loss, optax.adam(1e-2))
    with refused(ValueError, "state.params.body.weight"):
        other.fit(DATA, steps=2, checkpoint=tmp_path, **QUIET)


def test_a_metric_that_is_no_scalar_is_refused():
    def vector(m, batch):
        return m(batch).mean(), {"rows": m(batch).mean(1)}

    one = nn.Trainer(nn.Linear(3, 2), vector, optax.sgd(0.1))
    with refused(ValueError, "Trainer: the metric rows must be a scalar, got its shape=(24,)."):
        one.fit([X], **QUIET)


def test_weighted_metrics_keep_their_weights():
    def counted(m, x):
        return (m(x) ** 2).mean(), {"first": transforms.weighted(x[0, 0], x[0, 1])}

    batches = [np.array([[1.0, 3.0, 0]], np.float32), np.array([[5.0, 1.0, 0]], np.float32)]
    one = nn.Trainer(nn.Linear(3, 2), counted, optax.sgd(0.0))
    assert one.evaluate(batches)["first"] == 2.0
    assert one.fit(batches, **QUIET)[-1]["first"] == 2.0


def test_no_step_is_traced_twice():
    traces = []

    def counted(m, batch):
        traces.append(1)
        return loss(m, batch)

    one = nn.Trainer(Net(), counted, optax.adam(1e-2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a donation that could not be used warns
        one.fit(DATA, steps=5, eval_batches=[(X, Y)], eval_every=2, **QUIET)
    assert len(traces) == 2  # one of training, one of evaluation
