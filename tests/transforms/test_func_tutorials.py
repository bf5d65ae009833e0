"""The published tutorials of torch.func, with other imports: each beside the same code on torch.

What had to change besides the imports: arrays are made by numpy and jax.numpy, methods of a tensor (``x.relu()``,
``x.flatten(1)``) are functions, and there is no device. Every tutorial is a function of the libraries here; both sides
run it.
"""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import purenn.functional as F
import stateful as nn
from transforms import func


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    """The laws here are about numbers and structure, not speed."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


OURS = SimpleNamespace(
    nn=nn, F=F, func=func, array=jnp.asarray, stack=jnp.stack, einsum=jnp.einsum, eye=jnp.eye, sum=jnp.sum,
    unsqueeze=lambda x: x[None], squeeze=lambda x: x[0], flatten=lambda x, k: x.reshape(*x.shape[:k], -1),
    jit=jax.jit,  # the tutorials need none; compiling a program takes less time than compiling each of its operations
)  # fmt: skip
TORCHS = SimpleNamespace(
    nn=torch.nn, F=torch.nn.functional, func=torch.func, array=lambda x: torch.tensor(np.array(x)), stack=torch.stack,
    einsum=torch.einsum, eye=torch.eye, sum=torch.sum, unsqueeze=lambda x: x.unsqueeze(0),
    squeeze=lambda x: x.squeeze(0), flatten=lambda x, k: x.flatten(k), jit=lambda run: run,
)  # fmt: skip
DRAWN = np.random.default_rng(0)


def drawn(*shape):
    return DRAWN.standard_normal(shape).astype(np.float32)


def twins(make, count=1):
    """Models of both libraries with the same weights."""
    torchs, own = make(TORCHS), make(OURS)
    theirs, ours = [torchs() for _ in range(count)], [own() for _ in range(count)]
    for a, b in zip(ours, theirs, strict=True):
        a.load_state_dict(b.state_dict())
    return ours, theirs


def close(a, b, tol=1e-4):
    np.testing.assert_allclose(np.asarray(a), b.detach().numpy(), rtol=tol, atol=tol)


def mlp(t):
    class SimpleMLP(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = t.nn.Linear(16, 8)
            self.fc2 = t.nn.Linear(8, 8)
            self.fc3 = t.nn.Linear(8, 3)

        def forward(self, x):
            x = t.flatten(x, 1)
            x = t.F.relu(self.fc1(x))
            x = t.F.relu(self.fc2(x))
            return self.fc3(x)

    return SimpleMLP


def test_ensembling():
    data = drawn(3, 5, 1, 4, 4)

    def tutorial(t, models):
        params, buffers = t.func.stack_module_state(models)
        base_model = models[0]

        def fmodel(params, buffers, x):
            return t.func.functional_call(base_model, (params, buffers), (x,))

        minibatches, minibatch = t.array(data), t.array(data[0])
        one_each = t.func.vmap(fmodel)(params, buffers, minibatches)
        one_for_all = t.func.vmap(fmodel, in_dims=(0, 0, None))(params, buffers, minibatch)
        loop = t.stack([model(x) for model, x in zip(models, minibatches, strict=True)])
        return one_each, one_for_all, loop, [p.shape[0] for p in params.values()]

    ours, theirs = (tutorial(t, models) for t, models in zip((OURS, TORCHS), twins(mlp, 3), strict=True))
    close(ours[0], theirs[0])
    close(ours[1], theirs[1])
    np.testing.assert_allclose(ours[0], ours[2], rtol=1e-5, atol=1e-6)
    assert ours[3] == theirs[3] == [3] * 6


def cnn(t):
    class SimpleCNN(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = t.nn.Conv2d(1, 4, 3, 1)
            self.conv2 = t.nn.Conv2d(4, 8, 3, 1)
            self.fc1 = t.nn.Linear(32, 8)
            self.fc2 = t.nn.Linear(8, 10)

        def forward(self, x):
            x = t.F.relu(self.conv1(x))
            x = t.F.relu(self.conv2(x))
            x = t.F.max_pool2d(x, 2)
            x = t.F.relu(self.fc1(t.flatten(x, 1)))
            return t.F.log_softmax(self.fc2(x), dim=1)

    return SimpleCNN


def test_per_sample_gradients():
    data, targets = drawn(4, 1, 8, 8), np.array([1, 0, 7, 3])

    def tutorial(t, model):
        params = dict(model.named_parameters())
        buffers = dict(model.named_buffers())

        def compute_loss(params, buffers, sample, target):
            predictions = t.func.functional_call(model, (params, buffers), (t.unsqueeze(sample),))
            return t.F.nll_loss(predictions, t.unsqueeze(target))

        ft_compute_grad = t.func.grad(compute_loss)
        ft_compute_sample_grad = t.func.vmap(ft_compute_grad, in_dims=(None, None, 0, 0))
        run = t.jit(lambda data, targets: [*ft_compute_sample_grad(params, buffers, data, targets).values()])
        return run(t.array(data), t.array(targets))

    (model,), (theirs,) = twins(cnn)
    # the tutorial zips the gradients with those of a loop, which are in the order of the parameters
    for grad, per_sample in zip(tutorial(OURS, model), tutorial(TORCHS, theirs), strict=True):
        close(grad, per_sample)


def test_jacobians_and_hessians():
    D, weight, bias, x, xs = 6, drawn(6, 6), drawn(6), drawn(6), drawn(4, 6)

    def tutorial(t):
        tanh = jnp.tanh if t is OURS else torch.tanh

        def predict(weight, bias, x):
            return tanh(t.F.linear(x, weight, bias))

        def everything(w, b, point, batch):
            _, vjp_fn = t.func.vjp(partial(predict, w, b), point)
            (rows,) = t.func.vmap(vjp_fn)(t.eye(D))
            jac = t.func.jacrev(predict, argnums=2)(w, b, point)
            ft_jac_weight, ft_jac_bias = t.func.jacrev(predict, argnums=(0, 1))(w, b, point)
            forward = t.func.jacfwd(predict, argnums=2)(w, b, point)
            hess = t.func.hessian(predict, argnums=2)(w, b, point)
            hess_fwdfwd = t.func.jacfwd(t.func.jacfwd(predict, argnums=2), argnums=2)(w, b, point)
            hess_revrev = t.func.jacrev(t.func.jacrev(predict, argnums=2), argnums=2)(w, b, point)
            batch_jac = t.func.vmap(t.func.jacrev(predict, argnums=2), in_dims=(None, None, 0))(w, b, batch)
            batch_hess = t.func.vmap(t.func.hessian(predict, argnums=2), in_dims=(None, None, 0))(w, b, batch)

            def f(x):
                return t.sum(tanh(x))

            def hvp(f, primals, tangents):
                return t.func.jvp(t.func.grad(f), primals, tangents)[1]

            def hvp_revrev(f, primals, tangents):
                _, vjp_fn = t.func.vjp(t.func.grad(f), *primals)
                return vjp_fn(*tangents)

            products = hvp(f, (point,), (b,)), hvp_revrev(f, (point,), (b,))[0]
            return (
                rows,
                jac,
                ft_jac_weight,
                ft_jac_bias,
                forward,
                hess,
                hess_fwdfwd,
                hess_revrev,
                batch_jac,
                batch_hess,
                *products,
            )

        return t.jit(everything)(*map(t.array, (weight, bias, x, xs)))

    for ours, want in zip(tutorial(OURS), tutorial(TORCHS), strict=True):
        close(ours, want)


def kernel_net(t):
    class CNN(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = t.nn.Conv2d(3, 4, (3, 3))
            self.conv2 = t.nn.Conv2d(4, 4, (3, 3))
            self.fc = t.nn.Linear(16, 3)

        def forward(self, x):
            x = t.F.relu(self.conv1(x))
            x = self.conv2(x)
            return self.fc(t.flatten(x, 1))

    return CNN


def test_neural_tangent_kernels():
    x_train, x_test = drawn(4, 3, 6, 6), drawn(2, 3, 6, 6)

    def tutorial(t, net):
        params = dict(net.named_parameters())

        def fnet_single(params, x):
            return t.squeeze(t.func.functional_call(net, params, (t.unsqueeze(x),)))

        def contraction(x1, x2):
            jac1 = t.func.vmap(t.func.jacrev(fnet_single), (None, 0))(params, x1)
            jac1 = [t.flatten(j, 2) for j in jac1.values()]
            jac2 = t.func.vmap(t.func.jacrev(fnet_single), (None, 0))(params, x2)
            jac2 = [t.flatten(j, 2) for j in jac2.values()]
            parts = [t.einsum("Naf,Mbf->NMab", j1, j2) for j1, j2 in zip(jac1, jac2, strict=True)]
            return t.stack(parts).sum(0)

        def products(func, x1, x2):
            def get_ntk(x1, x2):
                output, vjp_fn = t.func.vjp(lambda params: func(params, x1), params)

                def get_ntk_slice(vec):
                    vjps = vjp_fn(vec)
                    _, jvps = t.func.jvp(lambda params: func(params, x2), (params,), vjps)
                    return jvps

                return t.func.vmap(get_ntk_slice)(t.eye(len(output)))

            return t.func.vmap(t.func.vmap(get_ntk, (None, 0)), (0, None))(x1, x2)

        test, train = t.array(x_test), t.array(x_train)
        return t.jit(contraction)(test, train), t.jit(partial(products, fnet_single))(test, train)

    (net,), (theirs,) = twins(kernel_net)
    for ours, want in zip(tutorial(OURS, net), tutorial(TORCHS, theirs), strict=True):
        close(ours, want)


def sine_net(t):
    class ThreeLayerNet(t.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = t.nn.Linear(1, 8)
            self.relu1 = t.nn.ReLU()
            self.fc2 = t.nn.Linear(8, 8)
            self.relu2 = t.nn.ReLU()
            self.fc3 = t.nn.Linear(8, 1)

        def forward(self, x):
            x = self.relu1(self.fc1(x))
            return self.fc3(self.relu2(self.fc2(x)))

    return ThreeLayerNet


def test_maml():
    """Gradients through a step of gradient descent, for four tasks at once."""
    task, alpha = [drawn(4, 5, 1) for _ in range(4)], 0.1

    def tutorial(t, net):
        params = dict(net.named_parameters())

        def mse_loss(x, y):
            return ((x - y) ** 2).mean()

        def outer_loss(params, *task):
            def get_loss_for_task(x1, y1, x2, y2):
                def inner_loss(params, x1, y1):
                    return mse_loss(t.func.functional_call(net, params, x1), y1)

                grads = t.func.grad(inner_loss)(params, x1, y1)
                new_params = {name: params[name] - alpha * grads[name] for name in params}
                return mse_loss(t.func.functional_call(net, new_params, x2), y2)

            inner_losses = t.func.vmap(get_loss_for_task)(*task)
            return sum(inner_losses) / len(inner_losses)

        def outer(*task):
            grads, value = t.func.grad_and_value(outer_loss)(params, *task)
            return value, *grads.values()

        return t.jit(outer)(*map(t.array, task))

    (net,), (theirs,) = twins(sine_net)
    for ours, want in zip(tutorial(OURS, net), tutorial(TORCHS, theirs), strict=True):
        close(ours, want)
