"""What section "stateful" of the design promises of Module, behaviour by behaviour."""

import copy
import inspect
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn
import purenn.functional as F
import stateful as nn
import transforms
from purenn import layers as L
from purenn import tree
from stateful.remembering import IncompatibleKeys


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.layers = [nn.Linear(4, 4) for _ in range(2)]
        self.scale = nn.Parameter(jnp.ones(4))
        self.register_buffer("shift", jnp.zeros(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.drop(F.relu(self.bn(self.conv(x)))).mean((2, 3))
        for layer in self.layers:
            x = layer(x)
        return self.head(x * self.scale + self.shift)

    def features(self, x, times=1):
        return F.relu(self.bn(self.conv(x))) * times


class TorchNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.drop = torch.nn.Dropout(0.5)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(2)])
        self.scale = torch.nn.Parameter(torch.ones(4))
        self.register_buffer("shift", torch.zeros(4))
        self.head = torch.nn.Linear(4, 3)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.embed(tokens))


X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 1, 8, 8)), jnp.float32)
KEY = jax.random.key(0)


def snapshot(module):
    return {name: np.asarray(value) for name, value in module.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# ---------------------------------------------------------------- the printed tree, names and order


def test_prints_as_torch_does():
    assert repr(Net()) == repr(TorchNet()).replace("TorchNet", "Net")


def test_state_dict_has_torchs_names_order_and_shapes():
    ours, theirs = Net().state_dict(), TorchNet().state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, tuple(v.shape)) for k, v in theirs.items()]


def test_walks_as_torch_does():
    ours, theirs = Net(), TorchNet()
    for walk in ("named_modules", "named_children", "named_parameters", "named_buffers"):
        assert [n for n, _ in getattr(ours, walk)()] == [n for n, _ in getattr(theirs, walk)()], walk
    for walk in ("modules", "children", "parameters", "buffers"):
        assert len(list(getattr(ours, walk)())) == len(list(getattr(theirs, walk)())), walk
    assert [n for n, _ in ours.named_parameters("p", recurse=False)] == ["p.scale"]
    assert ours.get_submodule("layers.1") is ours.layers[1]
    assert ours.get_submodule("") is ours
    np.testing.assert_array_equal(ours.get_parameter("head.bias"), ours.head.bias)
    np.testing.assert_array_equal(ours.get_buffer("bn.running_var"), jnp.ones(4))


def test_params_and_buffers_merged_and_flattened_are_the_state_dict():
    net = Net()
    params, buffers = net.split()
    merged = {**tree.flatten(params), **tree.flatten(buffers)}
    assert_same(dict(sorted(merged.items())), dict(sorted(snapshot(net).items())))


# ---------------------------------------------------------------- promises


def test_a_new_module_holds_no_arrays():
    net = Net()
    drawn = [path for path, cell in net._named_cells() if cell.drawn]
    assert drawn == []
    assert net.head.weight.shape == (3, 4)
    assert [path for path, cell in net._named_cells() if cell.drawn] == ["head.weight"]


def test_the_order_of_looking_does_not_matter():
    nn.manual_seed(3)
    first = Net()
    nn.manual_seed(3)
    second = Net()
    _ = second.head.weight, second.conv.bias
    assert_same(snapshot(first), snapshot(second))
    nn.manual_seed(4)
    assert not np.array_equal(Net().head.weight, first.head.weight)


def test_modules_differ_from_each_other():
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    assert not np.array_equal(a.weight, b.weight)


def test_loading_into_a_fresh_module_draws_nothing(monkeypatch):
    state = snapshot(Net())
    net = Net()
    monkeypatch.setattr("purenn.model.Leaf.draw", lambda *_: pytest.fail("drew"))
    net.load_state_dict(state)
    assert_same(snapshot(net), state)


def test_a_look_inside_a_trace_keeps_numbers():
    net = nn.Linear(3, 2)
    jax.jit(lambda x: net(x))(jnp.ones((1, 3)))
    assert not isinstance(net.weight, jax.core.Tracer)
    np.testing.assert_allclose(net(jnp.ones((1, 3))), jnp.ones((1, 3)) @ net.weight.T + net.bias, rtol=1e-6)


LAYERS = [
    ("Linear", (3, 4), {}), ("Linear", (3, 4), {"bias": False}), ("Identity", (), {}), ("Conv1d", (2, 4, 3), {}),
    ("Conv2d", (2, 4, (3, 5)), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2, "bias": False}),
    ("Conv2d", (2, 4, 3), {"padding": "same", "padding_mode": "reflect"}),
    ("Conv3d", (1, 2, 2), {"padding": (1, 0, 1)}),
    ("BatchNorm1d", (3,), {"momentum": None}), ("BatchNorm2d", (3,), {"affine": False}),
    ("BatchNorm3d", (3,), {"track_running_stats": False, "bias": False}), ("LayerNorm", (3,), {}),
    ("LayerNorm", ((2, 3),), {"elementwise_affine": False}), ("LayerNorm", (3,), {"bias": False}),
    ("Dropout", (0.3,), {"inplace": True}), ("Dropout1d", (), {}), ("Dropout2d", (), {}), ("Dropout3d", (), {}),
    ("AlphaDropout", (), {}), ("FeatureAlphaDropout", (), {}), ("Embedding", (5, 3), {}),
    ("Embedding", (5, 3), {"padding_idx": -1, "max_norm": 1.0, "norm_type": 1.0, "scale_grad_by_freq": True,
                           "sparse": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS)
def test_each_adapter_prints_and_names_as_torch_does(name, args, kwargs):
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert repr(ours) == repr(theirs)
    assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
        (k, tuple(v.shape)) for k, v in theirs.state_dict().items()
    ]
    assert repr(nn.Module(ours.pure(*args, **kwargs))).startswith(name)
    if name != "Identity":
        ours_by_name = inspect.signature(type(ours)).parameters
        assert list(ours_by_name) == [*inspect.signature(type(theirs)).parameters]
        for p, q in inspect.signature(type(theirs)).parameters.items():
            assert ours_by_name[p].default == q.default, p


def test_huge_models_construct_for_free():
    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.norm = nn.LayerNorm(width)

    blocks = nn.Sequential(*[Block(4096) for _ in range(48)])
    size = sum(tree.count({"leaf": leaf}) for leaf in tree.flatten(blocks.structure()).values())
    assert size > 6e9
    assert not any(cell.drawn for _, cell in blocks._named_cells())


# ---------------------------------------------------------------- the two pure functions


def test_init_and_apply_never_touch_the_object():
    net = Net()
    before = snapshot(net)
    params, buffers = net.init(KEY)
    out, after = net.apply(params, buffers, X, rng=KEY, train=True)
    assert out.shape == (5, 3)
    assert after["bn"]["num_batches_tracked"] == 1
    assert buffers["bn"]["num_batches_tracked"] == 0
    assert_same(snapshot(net), before)


def test_a_module_equals_the_composed_model_number_for_number():
    def wire(m, x):
        return m.head(m.drop(F.relu(m.bn(m.conv(x))).mean((2, 3))))

    class Same(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
            self.drop, self.head = nn.Dropout(0.5), nn.Linear(4, 3)

        def forward(self, x):
            return wire(self, x)

    parts = {"conv": L.Conv2d(1, 4, 3), "bn": L.BatchNorm2d(4), "drop": L.Dropout(0.5), "head": L.Linear(4, 3)}
    pure = purenn.compose(wire, **parts)
    arrays = pure.init(KEY)
    for module in (Same(), nn.Module(pure)):
        jax.tree.map(np.testing.assert_array_equal, module.init(KEY), arrays)
        ours, theirs = (m.apply(*arrays, X, rng=KEY, train=True) for m in (module, pure))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_jaxpr_is_that_of_the_plain_function():
    net = nn.Sequential(nn.Linear(3, 8), F.relu, nn.Linear(8, 2))
    params, buffers = net.init(KEY)

    def plain(p, x):
        x = F.relu(F.linear(x, p["0"]["weight"], p["0"]["bias"]))
        return F.linear(x, p["2"]["weight"], p["2"]["bias"])

    x = jnp.ones((4, 3))
    ours = jax.make_jaxpr(lambda p, x: net.apply(p, buffers, x, rng=KEY, train=True)[0])(params, x)
    assert len(ours.eqns) == len(jax.make_jaxpr(plain)(params, x).eqns)


def test_apply_traces_once():
    net, traces = Net(), []
    params, buffers = net.init(KEY)

    @jax.jit
    def run(params, buffers, x, rng):
        traces.append(1)
        return net.apply(params, buffers, x, rng=rng, train=True)

    _, buffers = run(params, buffers, X, KEY)
    run(params, buffers, X, jax.random.key(1))
    assert len(traces) == 1


def test_grad_vmap_eval_shape_go_through():
    net = Net()
    params, buffers = net.init(KEY)
    grads = jax.grad(lambda p: net.apply(p, buffers, X)[0].sum())(params)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert float(jnp.abs(grads["conv"]["weight"]).max()) > 0
    stacked = jax.vmap(net.init)(jax.random.split(KEY, 3))
    out, _ = jax.vmap(lambda p, b: net.apply(p, b, X))(*stacked)
    assert out.shape == (3, 5, 3)
    shapes = jax.eval_shape(net.init, KEY)[0]
    assert jax.tree.map(lambda s: s.shape, shapes) == jax.tree.map(lambda a: a.shape, params)


def test_train_none_respects_each_submodule():
    net = Net()
    net.bn.eval()
    arrays = net.init(KEY)
    _, after = net.apply(*arrays, X, rng=KEY, train=None)
    assert after["bn"]["num_batches_tracked"] == 0
    _, after = net.apply(*arrays, X, rng=KEY, train=True)
    assert after["bn"]["num_batches_tracked"] == 1


def test_method_names_another_method():
    net = Net()
    arrays = net.init(KEY)
    by_name, _ = net.apply(*arrays, X, method="features", times=2)
    by_function, after = net.apply(*arrays, X, 2, method=Net.features, train=True)
    assert by_name.shape == by_function.shape == (5, 4, 6, 6)
    assert after["bn"]["num_batches_tracked"] == 1
    with pytest.raises(TypeError, match="method must be a method of the module"):
        net.apply(*arrays, X, method="nothing")


def test_bound_modules_show_children_methods_and_buffers():
    net = Net()
    bound = purenn.bind(net, *net.init(KEY), rng=KEY, train=True)
    assert bound.head.weight.shape == (3, 4)
    bound.features(X)
    bound(X)
    assert bound.buffers["bn"]["num_batches_tracked"] == 2


def test_two_threads_may_trace_one_module():
    net, errors = Net(), []
    arrays = net.init(KEY)
    expected = net.apply(*arrays, X)[0]

    def work():
        try:
            for _ in range(3):
                got = jax.jit(lambda p, b, x: net.apply(p, b, x)[0])(*arrays, X)
                np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert errors == []


# ---------------------------------------------------------------- the object


def test_an_object_call_remembers_its_buffers_and_draws_new_noise():
    net = Net()
    first, second = net(X), net(X)
    assert int(net.bn.num_batches_tracked) == 2
    assert not np.array_equal(first, second)
    net.eval()
    np.testing.assert_array_equal(net(X), net(X))
    assert int(net.bn.num_batches_tracked) == 2


def test_an_exception_leaves_nothing_behind():
    class Breaks(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn, self.calls = nn.BatchNorm1d(3), 0

        def forward(self, x):
            self.calls += 1
            self.bn(x)
            raise ValueError("broken")

    net = Breaks()
    with pytest.raises(ValueError, match="broken"):
        net(jnp.ones((4, 3)))
    assert int(net.bn.num_batches_tracked) == 0
    assert net.calls == 0


def test_plain_attributes_written_in_forward():
    class Stores(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.calls = nn.Linear(3, 2), 0

        def forward(self, x):
            self.calls += 1
            self.seen = self.fc(x)
            return self.seen

    net = Stores()
    out = net(jnp.ones((1, 3)))
    assert net.calls == 1
    np.testing.assert_array_equal(net.seen, out)
    net.apply(*net.split(), jnp.ones((1, 3)))
    assert net.calls == 1
    with pytest.raises(RuntimeError, match=r"Stores\.seen would keep a tracer"):
        jax.jit(net)(jnp.ones((1, 3)))


def test_gradients_of_an_object_call_leave_its_statistics_in_order():
    net = nn.BatchNorm1d(3)
    jax.grad(lambda x: net(x).sum())(jnp.ones((4, 3)))  # the statistics carry no gradient, so they are numbers
    assert int(net.num_batches_tracked) == 1
    np.testing.assert_allclose(net.running_mean, jnp.full(3, 0.1), rtol=1e-6)


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap])
def test_storing_a_tracer_is_an_error_that_names_the_buffer(transform):
    net = nn.BatchNorm1d(3)
    with pytest.raises(RuntimeError, match=r"BatchNorm1d\.\w+ would keep a tracer.*module\.apply"):
        transform(net)(jnp.ones((2, 4, 3)) if transform is jax.vmap else jnp.ones((4, 3)))
    np.testing.assert_array_equal(net.running_mean, jnp.zeros(3))
    assert int(net.num_batches_tracked) == 0


def test_noise_inside_jit_is_an_error():
    with pytest.raises(RuntimeError, match="would be the same in every call"):
        jax.jit(nn.Dropout(0.5))(jnp.ones(3))


def test_dropout_in_training_needs_rng():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"1: rng must be given where random numbers are drawn.*Pass rng="):
        net.apply(*net.init(KEY), jnp.ones((2, 3)), train=True)


def test_evaluation_under_jit_and_input_gradients_work_on_the_object():
    net = Net().eval()
    np.testing.assert_allclose(jax.jit(net)(X), net(X), rtol=1e-5, atol=1e-6)
    assert jax.grad(lambda x: net(x).sum())(X).shape == X.shape


def test_errors_name_the_place_in_the_tree():
    net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(4, 3)))
    with pytest.raises(ValueError, match="linear: the last axis") as info:
        net(jnp.ones((2, 3)))
    assert info.value.__notes__ == ["in 1.0"]


# ---------------------------------------------------------------- the original, seen from inside a call


def test_what_closes_over_the_original_sees_the_bound_arrays():
    class Closes(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.run = lambda x: self.fc(x) + self.fc.bias

        def forward(self, x):
            return self.run(x)

    net = Closes()
    params, buffers = net.init(KEY)
    grads = jax.grad(lambda p: net.apply(p, buffers, jnp.ones((1, 3)))[0].sum())(params)
    np.testing.assert_allclose(grads["fc"]["bias"], [2.0, 2.0])
    np.testing.assert_allclose(grads["fc"]["weight"], jnp.ones((2, 3)))


# ---------------------------------------------------------------- tying


def test_tied_weights_are_one_leaf_one_gradient_two_names():
    net = Tied()
    assert not any(cell.drawn for _, cell in net._named_cells())  # tying costs nothing
    params, buffers = net.init(KEY)
    assert list(tree.flatten(params)) == ["embed.weight"]
    assert list(net.state_dict()) == ["embed.weight", "head.weight"]
    assert net.head.weight is net.embed.weight
    tokens = jnp.asarray([1, 2, 1])
    grad = jax.grad(lambda p: net.apply(p, buffers, tokens)[0].sum())(params)["embed"]["weight"]

    reference = torch.nn.Embedding(7, 4)
    reference.weight.data = torch.from_numpy(np.array(params["embed"]["weight"]))
    (reference(torch.tensor([1, 2, 1])) @ reference.weight.T).sum().backward()
    np.testing.assert_allclose(grad, reference.weight.grad, rtol=1e-5, atol=1e-5)


def test_tying_after_construction_and_copies_keep_ties():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    pair = nn.Sequential(a, b)
    b.weight = a.weight
    assert list(pair.split()[0]["1"]) == ["bias"]
    for twin in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        assert twin[0].weight is twin[1].weight
        assert_same(snapshot(twin), snapshot(pair))


def test_equal_numbers_are_not_ties():
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight + 0
    assert list(nn.Sequential(a, b).split()[0]["1"]) == ["weight", "bias"]


def test_a_module_used_twice_is_one():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a

        def forward(self, x):
            return self.b(self.a(x))

    net = Twice()
    assert list(net.split()[0]) == ["a"]
    assert list(net.state_dict()) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert [n for n, _ in net.named_modules()] == ["", "a"]
    params, buffers = net.init(KEY)
    x = jnp.ones((1, 3))
    once = F.linear(x, params["a"]["weight"], params["a"]["bias"])
    np.testing.assert_allclose(net.apply(params, buffers, x)[0], F.linear(once, *params["a"].values()), rtol=1e-6)


def test_tied_names_load_from_either_and_contradictions_are_refused():
    net, value = Tied(), np.ones((7, 4), np.float32)
    assert repr(net.load_state_dict({"embed.weight": value})) == "<All keys matched successfully>"
    net.load_state_dict({"head.weight": 2 * value})
    np.testing.assert_array_equal(net.embed.weight, 2 * value)
    with pytest.raises(ValueError, match="names of one tied array must hold the same values"):
        net.load_state_dict({"embed.weight": value, "head.weight": 3 * value})
    np.testing.assert_array_equal(net.embed.weight, 2 * value)


# ---------------------------------------------------------------- registration


def test_plain_lists_and_dicts_of_modules_are_registered():
    class Holds(nn.Module):
        def __init__(self):
            super().__init__()
            self.list, self.later = [nn.Linear(2, 2), [nn.Linear(2, 2)]], []
            self.dict = {"a": nn.Linear(2, 2)}
            self.numbers = [1, 2]
            self.later.append(nn.Linear(2, 2))

    net = Holds()
    names = {name.rpartition(".")[0] for name in net.state_dict()}
    assert names == {"list.0", "list.1.0", "dict.a", "later.0"}
    assert net.numbers == [1, 2]
    assert isinstance(net.list, nn.ModuleList)
    assert isinstance(net.dict, nn.ModuleDict)
    with pytest.raises(TypeError, match="mixed must hold modules only, or none"):
        net.mixed = [nn.Linear(2, 2), 3]


def test_pure_models_assigned_become_modules():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = L.Sequential(L.Linear(3, 4), F.relu)
            self.heads = transforms.ensemble(L.Linear(4, 2), 3)

        def forward(self, x):
            return self.heads(self.body(x))

    net = Mixed()
    assert isinstance(net.body[0], nn.Linear)
    assert list(net.state_dict()) == ["body.0.weight", "body.0.bias", "heads.weight", "heads.bias"]
    assert net(jnp.ones((5, 3))).shape == (3, 5, 2)
    net.body[0] = nn.Linear(3, 4, bias=False)
    assert list(net.split()[0]["body"]["0"]) == ["weight"]
    net(jnp.ones((5, 3)))


def test_parameters_are_arrays_to_read_and_cells_to_assign():
    net = nn.Module()
    net.a = nn.Parameter(jnp.arange(3.0))
    net.b = nn.Parameter(nn.init.ones_, (2, 2), dtype=jnp.bfloat16)
    net.c = nn.Parameter(jnp.ones(2), False)
    assert isinstance(net.a, jax.Array)
    assert net.b.dtype == jnp.bfloat16
    assert [list(part) for part in net.split()] == [["a", "b"], ["c"]]
    net.a = jnp.zeros(3)
    np.testing.assert_array_equal(net.a, jnp.zeros(3))
    net.a = None
    assert net.a is None
    del net.b
    assert not hasattr(net, "b")


def test_what_init_assigns_is_what_init_gives():
    class Zeroed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)
            self.fc.bias = jnp.full(2, 7.0)

    params, _ = Zeroed().init(KEY)
    np.testing.assert_array_equal(params["fc"]["bias"], [7.0, 7.0])


def test_buffers():
    net = nn.Module()
    net.register_buffer("table", jnp.ones(3), persistent=False)
    net.register_buffer("empty", None)
    assert list(net.state_dict()) == []
    assert list(net.split()[1]) == ["table"]
    net.empty = jnp.zeros(2)
    assert list(net.state_dict()) == ["empty"]
    net.table = jnp.zeros(5)
    assert net.get_buffer("table").shape == (5,)


def test_a_buffer_is_registered_by_assignment():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Buffer(jnp.ones(3))
            self.v = nn.Buffer(np.zeros(2), persistent=False)

        def forward(self, x):
            self.w = self.w + x
            return self.w

    net = Table()
    assert list(net.state_dict()) == ["w"]
    assert list(net.split()[1]) == ["w", "v"]
    net.w = nn.Buffer(jnp.zeros(3))  # another one takes its place
    np.testing.assert_array_equal(net(1.0), [1, 1, 1])
    np.testing.assert_array_equal(copy.deepcopy(net).w, [1, 1, 1])
    assert nn.Buffer().shape == (0,)
    with pytest.raises(TypeError, match=r"^Buffer: data must be an array, got type\(data\)='str'"):
        nn.Buffer("abc")


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda m: setattr(m.fc, "weight", jnp.ones(3)), ValueError, r"Linear\.weight: the shape of a parameter must"),
        (lambda m: setattr(m.fc, "weight", "x"), TypeError, "a parameter or buffer must be an array"),
        (lambda m: setattr(m, "fc", 3), TypeError, "fc must be a module or None"),
        (lambda m: m.register_parameter("a.b", nn.Parameter(jnp.ones(1))), ValueError, "without a dot"),
        (lambda m: m.register_parameter("a", jnp.ones(1)), TypeError, "a must be a Parameter or None"),
        (lambda m: m.register_parameter("forward", nn.Parameter(jnp.ones(1))), KeyError, "already exists"),
        (lambda m: m.register_buffer("a.b", jnp.ones(1)), ValueError, "without a dot"),
        (lambda m: m.register_buffer("a", [1]), TypeError, "a must be an array or None"),
        (lambda m: m.register_buffer("fc", jnp.ones(1)), KeyError, "already exists"),
        (lambda m: m.add_module("a.b", nn.Linear(1, 1)), ValueError, "without a dot"),
        (lambda m: m.add_module("a", 3), TypeError, "a must be a module"),
        (lambda m: m.add_module("forward", nn.Linear(1, 1)), KeyError, "already exists"),
        (lambda m: m.get_submodule("fc.x"), AttributeError, "Linear has no submodule 'x'"),
        (lambda m: m.get_parameter("fc.x"), AttributeError, "no parameter 'fc.x'"),
        (lambda m: m.get_buffer("x"), AttributeError, "no buffer 'x'"),
        (lambda m: m.set_submodule("", nn.Linear(1, 1)), ValueError, "target must name a submodule"),
        (lambda m: m.set_submodule("x", nn.Linear(1, 1), strict=True), AttributeError, "no submodule 'x'"),
        (lambda m: m.nothing, AttributeError, "object has no attribute 'nothing'"),
        (lambda m: m.apply(print), TypeError, r"module\.apply\(fn\) is module\.for_each\(fn\)"),
        (lambda m: m.apply({}), ValueError, "buffers must be given"),
        (lambda m: m.apply({}, {}, X), ValueError, "must hold the module's arrays"),
        (lambda m: m.apply(X, {}, X), TypeError, "params must be a nested dict"),
        (lambda m: m.update({"fc": {}}), ValueError, "params must hold the module's names"),
        (lambda m: m.to(jnp.int32), TypeError, "must be a floating dtype, a device or a sharding"),
        (lambda m: m.to(torch.float32), TypeError, r"got the argument=torch\.float32\. They are jax's: jnp\.float32"),
        (lambda m: m.to("gpu:7"), ValueError, "the device must exist"),
        (lambda m: m.train("yes"), ValueError, "mode must be a boolean"),
        (lambda m: m.rng(), RuntimeError, "keys exist during a call only"),
        (lambda m: m(X), NotImplementedError, 'missing the required "forward"'),
        (lambda m: m.register_full_backward_hook(print), NotImplementedError, "gradients come from jax.grad"),
        (lambda m: nn.Module(3), TypeError, "model must have init and apply"),
        (lambda m: nn.Module(L.Linear), TypeError, "Call the class"),
        (lambda m: nn.jit(print), TypeError, "the argument must be a Module"),
        (lambda m: nn.manual_seed(1.5), TypeError, "seed must be an integer"),
        (lambda m: nn.Parameter("x"), TypeError, "must be an array or an initializer"),
        (lambda m: nn.Parameter(nn.init.ones_), ValueError, "shape must be given with an initializer"),
    ],
)  # fmt: skip
def test_bad_use_is_refused_in_words(act, error, words):
    module = nn.Module()
    module.fc = nn.Linear(2, 2)
    with pytest.raises(error, match=words):
        act(module)


def test_children_called_like_methods_are_refused():
    model = purenn.compose(lambda m, x: m.update(x), update=L.Linear(2, 2))
    with pytest.raises(ValueError, match="a child must not be called like a method of Module, got name='update'"):
        nn.Module(model)


def test_a_frozen_leaf_keeps_its_place_in_an_adapted_module():
    net = nn.Module(transforms.freeze(L.Linear(3, 2), "weight"))
    assert list(net.state_dict()) == ["weight", "bias"]
    assert [name for name, _ in net.named_parameters()] == ["weight", "bias"]
    assert [list(tree) for tree in net.split()] == [["bias"], ["weight"]]
    assert net(jnp.ones((1, 3))).shape == (1, 2)


def test_assigning_before_init_is_refused():
    class Early(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"before Module\.__init__\(\) call"):
        Early()


def test_parameters_stay_as_they_are_during_a_call():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(jnp.ones(2))

        def forward(self, x):
            self.w = x
            return x

    with pytest.raises(RuntimeError, match="parameters stay as they are during a call"):
        Writes()(jnp.zeros(2))


# ---------------------------------------------------------------- state in and out


def test_every_problem_of_a_state_dict_is_reported_at_once_and_nothing_changes():
    net = Net()
    before = snapshot(net)
    state = dict(before) | {"extra": np.ones(1), "head.weight": np.ones((2, 2), np.float32)}
    del state["scale"]
    with pytest.raises(ValueError, match="nothing was changed") as info:
        net.load_state_dict(state)
    for words in ("missing: scale (4,)", "unexpected: extra", "mismatched: head.weight: shape (2, 2)", "3 problems"):
        assert words in str(info.value)
    assert_same(snapshot(net), before)
    del state["head.weight"]
    result = net.load_state_dict(state, strict=False)
    assert isinstance(result, IncompatibleKeys)
    assert result.missing_keys == ["scale", "head.weight"]
    assert result.unexpected_keys == ["extra"]
    missing, unexpected = result
    assert (missing, unexpected) == (result.missing_keys, result.unexpected_keys)


def test_torch_state_dicts_load_both_ways():
    theirs, ours = TorchNet(), Net()
    ours.load_state_dict(theirs.state_dict())
    back = {name: torch.from_numpy(np.array(value)) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(back, strict=True)
    half = nn.Linear(4, 3).bfloat16()
    half.load_state_dict(torch.nn.Linear(4, 3).bfloat16().state_dict())
    assert half.weight.dtype == jnp.bfloat16


def test_split_and_update_are_inverse_and_all_or_nothing():
    net, other = Net(), Net()
    other.update(*net.split())
    assert_same(snapshot(other), snapshot(net))
    params, buffers = other.split()
    before = snapshot(other)
    params["conv"]["weight"] = params["conv"]["weight"] + 1
    params["head"]["bias"] = jnp.ones(9)
    with pytest.raises(ValueError, match=r"head\.bias: the shape of a parameter must stay"):
        other.update(params, buffers)
    assert_same(snapshot(other), before)
    with pytest.raises(TypeError, match="an object must not keep a tracer"):
        jax.jit(lambda w: other.update({**params, "scale": w}) and 0)(jnp.ones(4))


def test_requires_grad_moves_leaves_to_the_buffers():
    net = Net()
    net.conv.requires_grad_(False)
    params, buffers = net.split()
    assert "conv" not in params
    assert list(buffers["conv"]) == ["weight", "bias"]
    assert list(net.state_dict()) == list(Net().state_dict())
    out, _ = net.apply(params, buffers, X)
    assert out.shape == (5, 3)
    assert "conv" in net.requires_grad_(True).split()[0]


def test_to_casts_promises_and_arrays():
    net = Net()
    _ = net.conv.weight
    net.to(jnp.bfloat16)
    dtypes = {name: value.dtype for name, value in net.state_dict().items()}
    assert dtypes.pop("bn.num_batches_tracked") == jnp.int32
    assert set(dtypes.values()) == {jnp.dtype(jnp.bfloat16)}
    assert net.float().conv.weight.dtype == jnp.float32
    assert net.half().head.weight.dtype == jnp.float16
    device = jax.devices("cpu")[0]
    assert nn.Linear(2, 2).to(device).weight.devices() == {device}
    assert nn.Linear(2, 2, device="cpu", dtype=jnp.bfloat16).weight.dtype == jnp.bfloat16


def test_for_each_visits_children_first():
    seen = []
    net = Net()
    assert net.for_each(lambda m: seen.append(type(m).__name__)) is net
    theirs = []
    TorchNet().apply(lambda m: theirs.append(type(m).__name__.replace("TorchNet", "Net")))
    assert seen == theirs


def test_deepcopy_and_pickle_keep_promises():
    net = Net()
    twin = copy.deepcopy(net)
    assert not any(cell.drawn for _, cell in twin._named_cells())
    assert_same(snapshot(twin), snapshot(net))
    twin.head.bias = jnp.ones(3)
    assert not np.array_equal(net.head.bias, jnp.ones(3))
    assert_same(snapshot(pickle.loads(pickle.dumps(net))), snapshot(net))
    opaque = nn.Module(transforms.ensemble(L.Linear(2, 2), 3))
    assert_same(snapshot(copy.deepcopy(opaque)), snapshot(opaque))


# ---------------------------------------------------------------- hyperparameters, hooks, containers


def test_hyperparameters_read_and_change():
    drop, bn = nn.Dropout(0.5), nn.BatchNorm1d(3)
    drop.p = 0.0
    np.testing.assert_array_equal(drop(jnp.ones(5)), jnp.ones(5))
    bn.momentum = None
    bn(jnp.ones((4, 3)) * jnp.arange(4.0)[:, None])
    np.testing.assert_allclose(bn.running_mean, jnp.full(3, 1.5), rtol=1e-6)
    assert nn.Linear(3, 2).in_features == 3
    assert nn.Conv2d(1, 2, 3).kernel_size == (3, 3)
    with pytest.raises(ValueError, match="p must be a probability"):
        drop.p = 2.0


def test_hooks_as_in_torch():
    net, log = nn.Linear(2, 2), []
    first = net.register_forward_pre_hook(lambda m, args: log.append("pre") or (args[0] * 2,))
    second = net.register_forward_hook(lambda m, args, out: log.append("post") or out + 1)
    x = jnp.ones((1, 2))
    expected = F.linear(2 * x, net.weight, net.bias) + 1
    np.testing.assert_allclose(net(x), expected, rtol=1e-6)
    np.testing.assert_allclose(net.apply(*net.split(), x)[0], expected, rtol=1e-6)
    net.register_forward_hook(lambda m, a, kw, out: log.append(sorted(kw)), with_kwargs=True, prepend=True)
    net.register_forward_pre_hook(lambda m, a, kw: (a, kw), with_kwargs=True, prepend=True)
    net(x)
    assert log[-3:] == ["pre", [], "post"]
    first.remove(), second.remove()
    with net.register_forward_hook(lambda m, a, out: 0 * out):
        np.testing.assert_array_equal(net(x), jnp.zeros((1, 2)))
    np.testing.assert_allclose(net(x), F.linear(x, net.weight, net.bias), rtol=1e-6)
    net.register_forward_hook(lambda m, a, out: log.append("always"), always_call=True)
    with pytest.raises(ValueError, match="last axis"):
        net(jnp.ones((1, 5)))
    assert log[-1] == "always"


def test_replacing_submodules_is_honoured():
    net = Net().eval()
    net.head = nn.Linear(4, 9)
    net.layers[0] = nn.Identity()
    assert net(X).shape == (5, 9)
    net.set_submodule("head", nn.Linear(4, 2))
    assert net(X).shape == (5, 2)


def test_sequential_and_lists_behave_as_torchs():
    for ours, theirs in ((nn.Sequential, torch.nn.Sequential),):
        a = ours(*[nn.Linear(2, 2) for _ in range(3)])
        b = theirs(*[torch.nn.Linear(2, 2) for _ in range(3)])
        for net, lin in ((a, nn.Linear), (b, torch.nn.Linear)):
            net.append(lin(2, 3))
            net.insert(1, lin(2, 2))
            net.extend([lin(3, 3)])
            del net[0]
            net.pop(-1)
            net[0] = lin(2, 2, bias=False)
        assert repr(a) == repr(b)
        assert list(a.state_dict()) == list(b.state_dict())
        assert repr(a[1:3]) == repr(b[1:3])
        assert len(a) == len(b)
        assert repr(a + a) == repr(b + b)
    named = nn.Sequential({"fc": nn.Linear(2, 2), "act": F.relu})
    assert list(named.state_dict()) == ["fc.weight", "fc.bias"]
    assert named(jnp.ones((1, 2))).shape == (1, 2)
    with pytest.raises(IndexError, match="out of range"):
        a[10]
    with pytest.raises(TypeError, match="an entry must be a module"):
        nn.ModuleList([3])
    with pytest.raises(TypeError, match="modules must be iterable"):
        nn.ModuleList(3)
    ours, theirs = nn.ModuleDict({"a": nn.Linear(1, 1)}), torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1)})
    for net, lin in ((ours, nn.Linear), (theirs, torch.nn.Linear)):
        net.update({"b": lin(1, 2)})
        net["c"] = lin(2, 2)
        net.pop("a")
    assert repr(ours) == repr(theirs)
    assert list(ours.keys()) == list(theirs.keys())
    assert "b" in ours
    assert len(ours) == 2
    ours.clear()
    assert len(ours) == 0
    with pytest.raises(TypeError, match="modules must be a dict or pairs"):
        nn.ModuleDict(3)
    repeated = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 3)])
    assert repr(repeated) == repr(
        torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 3)])
    )


def test_a_subclass_of_a_library_layer_overrides_forward():
    class Doubled(nn.Linear):
        def __init__(self, n):
            super().__init__(n, n)
            self.factor = 2

        def forward(self, x):
            return super().forward(x) * self.factor

    net = Doubled(3)
    x = jnp.ones((1, 3))
    np.testing.assert_allclose(net(x), 2 * F.linear(x, net.weight, net.bias), rtol=1e-6)
    assert repr(net) == "Doubled(in_features=3, out_features=3, bias=True)"


def test_the_functional_half_under_its_ported_names():
    import stateful.functional

    assert set(stateful.functional.__all__) == set(F.__all__)
    assert all(getattr(nn.functional, name) is getattr(F, name) for name in F.__all__)
    assert all(getattr(nn.init, name) is getattr(purenn.init, name) for name in purenn.init.__all__)


# ---------------------------------------------------------------- nn.jit


def test_the_compiled_object():
    nn.manual_seed(0)
    net = Net()
    twin = copy.deepcopy(net)
    compiled = nn.jit(net)
    first, second = compiled(X), compiled(X)
    assert int(net.bn.num_batches_tracked) == 2
    assert not np.array_equal(first, second)  # fresh noise
    program = compiled.__dict__["_program"]
    assert program._cache_size() == 1
    compiled.eval()
    np.testing.assert_allclose(compiled(X), net(X), rtol=1e-5, atol=1e-6)
    compiled.train()
    compiled(X)
    assert program._cache_size() == 2  # one program per mode
    nn.Linear(2, 2).training = False
    compiled(X)
    assert program._cache_size() == 2  # other modules do not matter
    compiled.load_state_dict(twin.state_dict())
    assert int(net.bn.num_batches_tracked) == 0
    net.head = nn.Linear(4, 7)
    assert compiled(X).shape == (5, 7)
    net.drop.p = 0.0
    net.bn.eval()
    np.testing.assert_array_equal(compiled(X), compiled(X))
    with pytest.raises(TypeError, match="arguments must be arrays, or hashable"):
        compiled({1})


def test_compiled_arguments_that_are_no_arrays_are_static():
    class Flagged(nn.Module):
        def forward(self, x, double=False, name="a"):
            return {name: x * 2 if double else x}

    compiled = nn.jit(Flagged())
    assert list(compiled(jnp.ones(1), name="b")) == ["b"]
    assert float(compiled(jnp.ones(1), double=True)["a"][0]) == 2.0
    assert "jit(Flagged())" in repr(compiled)


def test_what_is_asked_of_an_array_that_was_read_is_done():
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    net(jnp.ones((4, 3)))
    for parameter in net[0].parameters():
        parameter.requires_grad = False
    params, buffers = net.split()
    assert (sorted(params), sorted(buffers["0"])) == (["1"], ["bias", "weight"])
    assert sorted(net.init(KEY)[0]) == ["1"]
    net[0].weight.requires_grad = True
    copied = copy.deepcopy(net)
    for module in (net, copied, pickle.loads(pickle.dumps(net))):
        assert sorted(module.split()[0]["0"]) == ["weight"]
    net[0].weight.data = jnp.full((2, 3), 5.0)
    np.testing.assert_array_equal(net.state_dict()["0.weight"], np.full((2, 3), 5.0))
    net[0].bias.requires_grad = True
    net.load_state_dict({**net.state_dict(), "0.bias": jnp.ones(2)})  # another array; what was asked stays
    assert sorted(net.split()[0]["0"]) == ["bias", "weight"]
    net[0].weight.data = jnp.ones((3, 3))
    with pytest.raises(ValueError, match="data: the shape of a parameter must stay"):
        net[0].weight  # noqa: B018
    assert net[0].weight.shape == (2, 3)
