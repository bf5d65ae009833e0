"""Cases of purenn/functional/normalization.py."""

import math

import torch
import torch.nn.functional as TF
from oracle import Case, t, v


def by_statistics(x, mean, var, weight=None, bias=None, eps=1e-5):
    """What norms with running statistics are; torch refuses to differentiate these."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    y = (x - mean.reshape(shape)) / torch.sqrt(var.reshape(shape) + eps)
    return y if weight is None else y * weight.reshape(shape) + bias.reshape(shape)


def updated(norm, **flag):
    """The torch norm as a function that returns the statistics it writes."""

    def call(x, mean, var, weight=None, bias=None, **kwargs):
        mean, var = mean.detach().clone(), var.detach().clone()
        return norm(x, mean, var, weight, bias, **flag, **kwargs), (mean, var)

    return call


batch_update = updated(TF.batch_norm, training=True)
instance_update = updated(TF.instance_norm)
positive = lambda *shape: t(*shape, kind="positive")  # noqa: E731

CASES = [
    Case("batch_norm", (t(4, 3, 5), None, None, t(3), t(3), True)),
    Case("batch_norm", (t(6, 3), None, None), {"training": True, "eps": 0.1}),
    Case("batch_norm", (t(2, 3, 2, 2, 2), None, None, None, t(3), True)),
    Case("batch_norm", (t(0, 3, 2), None, None, t(3), t(3), True)),
    Case("batch_norm", (t(2, 3, 4), t(3), positive(3), t(3), t(3)), torch_fn=by_statistics),
    Case("batch_norm", (t(2, 3, 4),), {"running_mean": t(3), "running_var": positive(3), "weight": t(3), "eps": 0.0}),
    Case("batch_norm_update", (t(4, 3, 5), t(3), positive(3), t(3), t(3)), torch_fn=batch_update),
    Case("batch_norm_update", (t(4, 3), t(3), positive(3)), {"momentum": 0.7, "eps": 0.1}, torch_fn=batch_update),
    Case("batch_norm_update", (t(2, 0, 3), t(0), positive(0)), torch_fn=batch_update),
    Case("batch_norm_update", (t(0, 3), t(3), positive(3), t(3), t(3)), torch_fn=batch_update),
    Case("instance_norm", (t(2, 3, 5),)),
    Case("instance_norm", (t(2, 3, 2, 4), None, None, t(3), t(3)), {"eps": 0.1}),
    Case("instance_norm", (t(2, 3, 1), t(3), positive(3), t(3), t(3), False),
         torch_fn=lambda x, m, s, w, b, _: by_statistics(x, m, s, w, b)),
    Case("instance_norm", (t(2, 3),), {"running_mean": t(3), "running_var": positive(3), "use_input_stats": False}),
    Case("instance_norm_update", (t(4, 3, 5), t(3), positive(3), t(3), t(3)), torch_fn=instance_update),
    Case("instance_norm_update", (t(2, 3, 2, 2), t(3), positive(3)), {"momentum": 1.0}, torch_fn=instance_update),
    Case("group_norm", (t(2, 6, 3), 2, t(6), t(6))),
    Case("group_norm", (t(2, 4), 2), {"eps": 0.1}),
    # torch's backward fails on a bias without a weight
    Case("group_norm", (t(1, 4, 2, 3), 4, None, t(4)),
         torch_fn=lambda x, groups, _, b: TF.group_norm(x, groups, torch.ones_like(b), b)),
    Case("group_norm", (t(0, 4, 2), 1, t(4), t(4))),
    Case("layer_norm", (t(2, 3, 5), (5,), t(5), t(5))),
    Case("layer_norm", (t(2, 3, 5), [3, 5], t(3, 5)), {"eps": 0.1}),
    Case("layer_norm", (t(5), (5,), None, t(5))),
    Case("layer_norm", (t(0, 5), (5,), t(5), t(5))),
    Case("layer_norm", (t(2, 0), (0,))),
    Case("rms_norm", (t(2, 3, 5), (5,), t(5))),
    Case("rms_norm", (t(2, 3, 5), (3, 5)), {"eps": 0.1}),
    Case("rms_norm", (t(0, 5), [5], t(5))),
    Case("local_response_norm", (t(2, 7, 3), 2)),
    # torch has no 16-bit kernel from 4-D on
    Case("local_response_norm", (t(2, 5, 2, 3), 3, 0.5, 0.6, 2.0), half=False),
    Case("local_response_norm", (t(1, 3, 1, 2, 2), 5), {"alpha": 1.0}, half=False),
    Case("local_response_norm", (t(0, 3, 2), 2)),
    Case("normalize", (t(4, 3),)),
    Case("normalize", (t(2, 3, 4),), {"p": 3.0, "dim": -1, "eps": 2.0}),
    Case("normalize", (t(2, 3, 4),), {"p": 1.0, "dim": (0, 2)}),
    Case("normalize", (v([[0.0, 1.0, -1.0], [1.0, 2.0, 0.0]]),), {"p": math.inf}),
    Case("normalize", (v([[0.0, 1.0, -2.0], [1.0, 2.0, 0.5]]),), {"p": 0.5}),
    Case("normalize", (t(2, 3),), {"p": 0.0, "dim": []}),
    Case("normalize", (v(3.0),), {"dim": 0}),
    Case("normalize", (t(3, 0),)),
]  # fmt: skip
