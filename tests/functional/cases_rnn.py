"""Cases of purenn/functional/rnn.py and rnn_cell.py."""

import warnings

import torch
from oracle import Case, t, v
from torch.nn.utils import rnn as packing

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


def weights(name, inputs, H, layers=1, directions=1, bias=True, proj=0):
    """The flat parameters, as torch orders them."""
    rows, out = GATES[name] * H, proj or H
    flat = []
    for layer in range(layers):
        for _ in range(directions):
            flat += [t(rows, directions * out if layer else inputs), t(rows, out)]
            flat += [t(rows), t(rows)] * bias + [t(out, H)] * bool(proj)
    return tuple(flat)


def oracle(name):
    """torch's function: packed sequences where there are lengths, a batch axis where there is none."""

    def call(*args, **kwargs):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oneDNN does not project, and says so
            return run(*args, **kwargs)

    def run(x, hx, params, bias, layers, p, train, two, batch_first, lengths=None):
        f, pair = getattr(torch, name), name == "lstm"
        states = list(hx) if pair else [hx]
        if x.ndim == 2:
            axis = 0 if batch_first else 1
            out, *last = f(
                x.unsqueeze(axis), [s.unsqueeze(1) for s in states] if pair else states[0].unsqueeze(1),
                params, bias, layers, p, train, two, batch_first,
            )  # fmt: skip
            return out.squeeze(axis), *(s.squeeze(1) for s in last)
        if lengths is None:
            return f(x, hx, params, bias, layers, p, train, two, batch_first)
        packed = packing.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
        states = [s[:, packed.sorted_indices] for s in states]
        hx = states if pair else states[0]
        data, *last = f(packed.data, packed.batch_sizes, hx, params, bias, layers, p, train, two)
        out, _ = packing.pad_packed_sequence(packed._replace(data=data), batch_first, 0.0, x.shape[int(batch_first)])
        return out, *(s[:, packed.unsorted_indices] for s in last)

    return call


def net(name, L=4, N=2, inputs=3, H=2, layers=1, two=False, bias=True, proj=0, batch_first=False, lengths=None, p=0.0):
    """A call of `name`; N = 0 means unbatched."""
    D = 1 + two
    shape = (L, inputs) if not N else (N, L, inputs) if batch_first else (L, N, inputs)
    state = lambda size: t(layers * D, *([N] if N else []), size)  # noqa: E731
    hx = (state(proj or H), state(H)) if name == "lstm" else state(H)
    params = weights(name, inputs, H, layers, D, bias, proj)
    args = (t(*shape), hx, params, bias, layers, p, False, two, batch_first)
    kwargs = {} if lengths is None else {"lengths": v(lengths, "int32")}
    label = f"{name}(N={N},layers={layers},D={D},bias={bias},proj={proj},first={batch_first},lengths={lengths})"
    return Case(name, args, kwargs, torch_fn=oracle(name), label=label, batch=(0,))


def cell(name, N=2, bias=True):
    rows, pair = GATES[name.removesuffix("_cell")] * 2, name == "lstm_cell"
    x, h = (t(N, 3), t(N, 2)) if N else (t(3), t(2))
    biases = (t(rows), t(rows)) if bias else ()

    def theirs(x, hx, *params):
        if x.ndim == 2:
            return getattr(torch, name)(x, hx, *params)
        out = getattr(torch, name)(x[None], tuple(s[None] for s in hx) if pair else hx[None], *params)
        return tuple(s[0] for s in out) if pair else out[0]

    return Case(name, (x, (h, h) if pair else h, t(rows, 3), t(rows, 2), *biases), torch_fn=theirs, batch=(0,))


def sequences(*lengths):
    return tuple(t(n, 2) for n in lengths)


CASES = [
    *(net(name) for name in GATES),
    *(net(name, layers=2, two=True, lengths=[2, 4, 1], N=3, p=0.3) for name in GATES),
    *(net(name, N=0, bias=False, two=True) for name in GATES),
    *(net(name, batch_first=True, lengths=[3, 1], layers=2) for name in ("lstm", "gru")),
    net("lstm", layers=2, two=True, proj=3, H=4, batch_first=True, lengths=[2, 4]),
    net("lstm", proj=1, bias=False, N=0),
    *(cell(f"{name}_cell") for name in GATES),
    *(cell(f"{name}_cell", N=0, bias=False) for name in GATES),
    # vmap=False: the law batches arrays that are arguments, these stand in a list
    Case("pad_sequence", (sequences(3, 1, 2),), torch_fn=packing.pad_sequence, vmap=False, label="pad_sequence(3,1,2)"),
    Case("pad_sequence", (sequences(1, 3), True, -1.5, "left"), torch_fn=packing.pad_sequence, vmap=False,
         label="pad_sequence(left)"),
    Case("pad_sequence", ((t(0), t(2)),), torch_fn=packing.pad_sequence, vmap=False, label="pad_sequence(0,2)"),
    Case("unpad_sequence", (t(2, 3, 2), v([3, 0], "int32"), True), torch_fn=packing.unpad_sequence, jit=False),
    Case(
        "unpad_sequence", (t(3, 2), v([3, 1], "int32")), jit=False,
        torch_fn=lambda x, lengths: packing.unpad_sequence(x.clone(), lengths),
    ),
]  # fmt: skip
