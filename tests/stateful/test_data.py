"""Batches and their positions."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import stateful as nn
from stateful.data import Feed, examples_of, place

X = np.arange(20).reshape(10, 2)
Y = np.arange(10)
KEY = jax.random.key(0)


def refused(kind, words):
    return pytest.raises(kind, match=re.escape(words))


def rows(source):
    return [batch[1].tolist() for batch in source]


# ------------------------------------------------------------------------------------------------------------- batches


def test_order_is_kept_without_a_key_and_the_last_batch_is_what_is_left():
    assert rows(nn.batches((X, Y), 4, epochs=2)) == 2 * [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert rows(nn.batches((X, Y), 4, epochs=1, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(nn.batches((X, Y), 4, epochs=3)) == 9
    assert nn.batches((X, Y), 4).per_epoch == 3


def test_each_epoch_has_every_row_once_in_an_order_of_its_own():
    found = rows(nn.batches((X, Y), 5, KEY, epochs=3))
    epochs = [found[0] + found[1], found[2] + found[3], found[4] + found[5]]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert found == rows(nn.batches((X, Y), 5, KEY, epochs=3))
    assert found == rows(nn.batches((X, Y), 5, jax.random.key_data(KEY), epochs=3))
    assert found != rows(nn.batches((X, Y), 5, jax.random.key(1), epochs=3))
    assert nn.batches((X, Y), 4, KEY).per_epoch == 2  # shuffled rows make full batches only


def test_leaves_of_one_batch_belong_together():
    for x, y in nn.batches((X, Y), 3, KEY, epochs=1):
        np.testing.assert_array_equal(x[:, 0], 2 * y)
    batch = next(iter(nn.batches({"x": jnp.asarray(X), "y": torch.from_numpy(Y)}, 3)))
    assert {name: leaf.shape for name, leaf in batch.items()} == {"x": (3, 2), "y": (3,)}


@pytest.mark.parametrize("rng", [None, KEY], ids=["ordered", "shuffled"])
@pytest.mark.parametrize("seen", range(7))
def test_a_position_is_found_again(rng, seen):
    data = nn.batches((X, Y), 4, rng, epochs=3)
    first = iter(data)
    for _ in range(seen):
        next(first)
    position = json.loads(json.dumps(first.get_state()))
    second = iter(data)
    second.set_state(position)
    assert rows(first) == rows(second)


def test_batches_refuse():
    with refused(ValueError, "batches: arrays must have one first axis, got its lengths=[9, 10]."):
        nn.batches((X, Y[1:]), 2)
    with refused(ValueError, "batches: arrays must have one first axis, got its lengths=[]."):
        nn.batches((), 2)
    for size in (0, 11, 2.0, True):
        words = f"batches: size must be an integer from 1 to 10, the rows there are, got size={size!r}."
        with refused(ValueError, words):
            nn.batches((X, Y), size)
    with refused(ValueError, "batches: epochs must be None or an integer that is not negative, got epochs=-1."):
        nn.batches((X, Y), 2, epochs=-1)
    with refused(TypeError, "batches: arrays must be arrays with a first axis, got type='str'."):
        nn.batches("text", 2)
    with refused(TypeError, "batches: rng must be one PRNG key"):
        nn.batches((X, Y), 2, 3)
    with refused(TypeError, "batches: there is no length without epochs=. One epoch has .per_epoch batches."):
        len(nn.batches((X, Y), 2))
    with refused(ValueError, "batches: a position must lie within an epoch of 5 batches, got state="):
        iter(nn.batches((X, Y), 2)).set_state({"epoch": 0, "batch": 6})


# ---------------------------------------------------------------------------------------------------------------- feed


SOURCES = {
    "batches": lambda: nn.batches((X, Y), 4, KEY),
    "list": lambda: [(X[i : i + 2], Y[i : i + 2]) for i in range(0, 10, 2)],
    "grain": lambda: grain_loader(),
}


def grain_loader():
    import grain.python as grain

    class Rows:
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return X[i], Y[i]

        def __repr__(self):  # grain checks it when a position is set
            return "Rows"

    sampler = grain.IndexSampler(10, grain.NoSharding(), shuffle=True, num_epochs=3, seed=1)
    return grain.DataLoader(data_source=Rows(), sampler=sampler, operations=[grain.Batch(2, drop_remainder=True)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("source", SOURCES)
def test_a_feed_goes_on_where_it_was(source):
    make = SOURCES[source]
    first, second = Feed(make(), passes=3), Feed(make(), passes=3)
    expected = [next(first)[1].tolist() for _ in range(13)]
    for _ in range(7):
        next(second)
    third = Feed(make(), passes=3)
    third.set_state(json.loads(json.dumps(second.get_state())))
    assert [next(third)[1].tolist() for _ in range(6)] == expected[7:]


def test_a_feed_moves_batches_ahead_and_counts_those_that_were_given():
    taken = []

    def numbers():
        for i in range(5):
            taken.append(i)
            yield np.array([i])

    feed = Feed(numbers(), ahead=2)
    assert isinstance(next(feed), jax.Array)
    assert taken == [0, 1, 2]
    assert feed.get_state() == {"passes": 0, "taken": 1}
    assert [x.item() for x in feed] == [1, 2, 3, 4]
    assert feed.get_state() == {"passes": 0, "taken": 5}


def test_a_feed_passes_over_its_source_again_as_often_as_it_is_told():
    assert [x.item() for x in Feed([np.array([1]), np.array([2])], passes=2)] == [1, 2, 1, 2]
    endless = Feed([np.array([1])], passes=None)
    assert [next(endless).item() for _ in range(4)] == [1, 1, 1, 1]
    assert list(Feed(iter([]), passes=None)) == []


def test_a_feed_refuses():
    with refused(TypeError, "fit: batches must be an iterable of batches, not arrays, got type(batches)='int'."):
        Feed(3)
    feed = Feed([np.array([1])])
    with refused(ValueError, "fit: batches must give again what they gave before the run stopped, got batches seen=3."):
        feed.set_state({"passes": 0, "taken": 3})


def test_batches_are_placed_and_never_narrowed_to_other_numbers():
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    placed = place({"x": X.astype(np.float32), "t": torch.arange(3)}, sharding)
    assert placed["x"].committed
    assert placed["t"].dtype == jnp.int32
    with refused(ValueError, "batch: integers must fit in int32, got dtype='int64' and its largest=1099511627776"):
        place(np.array([2**40, 0]))
    assert (examples_of(placed), examples_of({}), examples_of(jnp.ones(()))) == (3, 1, 1)
