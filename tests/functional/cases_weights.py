"""Cases of purenn/functional/weights.py."""

import torch
from oracle import Case, t
from torch.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, parametrizations

weight_norm = lambda v, g, dim=0: torch._weight_norm(v, g, -1 if dim is None else dim)  # noqa: E731


def spectral_norm(weight, u, v, n_power_iterations=1, dim=0, eps=1e-12):
    """The parametrisation's own forward, with these vectors."""
    module = parametrizations._SpectralNorm(weight, max(n_power_iterations, 1), dim, eps)
    module.train(n_power_iterations > 0)
    if weight.ndim > 1:
        module._u, module._v = u.detach().clone(), v.detach().clone()
    out = module(weight)
    return (out, module._u, module._v) if weight.ndim > 1 else (out, u, v)


def clipped(clip):
    """torch clips the gradients of parameters, in place."""

    def call(grads, *args):
        one = isinstance(grads, torch.Tensor)
        parameters = [torch.zeros_like(x) for x in ([grads] if one else grads)]
        for parameter, x in zip(parameters, [grads] if one else grads, strict=True):
            parameter.grad = x.clone()
        total = clip(parameters, *args)
        out = [parameter.grad for parameter in parameters]
        return (out[0] if one else out), total

    return call


def to_parameters(vector, parameters):
    out = [torch.empty_like(x) for x in parameters]
    torch.nn.utils.vector_to_parameters(vector, out)
    return out


CASES = [
    Case("weight_norm", (t(4, 3, 2), t(4, 1, 1)), torch_fn=weight_norm),
    Case("weight_norm", (t(4, 3, 2), t(1, 3, 1), -2), torch_fn=weight_norm),
    Case("weight_norm", (t(4, 3), t(), None), torch_fn=weight_norm),
    Case("weight_norm", (t(5), t(5), 0), torch_fn=weight_norm),
    Case("spectral_norm", (t(4, 3), t(4), t(3)), torch_fn=spectral_norm, batch=(0, 1, 2)),
    Case("spectral_norm", (t(4, 3, 2), t(3), t(8), 3, 1), torch_fn=spectral_norm),
    Case("spectral_norm", (t(4, 3, 2), t(2), t(12), 0, -1), torch_fn=spectral_norm),
    Case("spectral_norm", (t(4), None, None), torch_fn=lambda w, u, v: torch.nn.functional.normalize(w, dim=0)),
    # grad=False: torch clips without recording gradients; half=False: the norm stays in float32, by design;
    # vmap=False: the law batches arrays that are arguments, these stand in a tree
    Case("clip_grad_norm", ((t(3, 4), t(5)), 0.7), torch_fn=clipped(clip_grad_norm_), grad=False, vmap=False,
         label="clip_grad_norm(tree)"),
    Case("clip_grad_norm", (t(3, 4), 100.0, 1.0), torch_fn=clipped(clip_grad_norm_), grad=False, half=False),
    Case("clip_grad_norm", (t(3, 4), 0.5, float("inf")), torch_fn=clipped(clip_grad_norm_), grad=False, half=False),
    Case(
        "clip_grad_value", (t(3, 4), 0.5), torch_fn=lambda *args: clipped(clip_grad_value_)(*args)[0], grad=False
    ),
    # vmap=False: as above
    Case("parameters_to_vector", ([t(3, 4), t(), t(2)],), torch_fn=parameters_to_vector, vmap=False,
         label="parameters_to_vector(12,1,2)"),
    Case("parameters_to_vector", (t(3, 4),), torch_fn=lambda x: x.flatten()),
    # grad=False: torch writes into the parameters' data, which no gradient passes
    Case("vector_to_parameters", (t(9), [t(2, 3), t(3)]), torch_fn=to_parameters, batch=(0,), grad=False,
         label="vector_to_parameters(9)"),
]  # fmt: skip
