"""Control flow: torch's higher-order operators as those of JAX. Their bodies are programs of their own."""

from typing import Any

import jax
import jax.numpy as jnp

from transforms.torch_ops.registry import register_op


@register_op("cond")
def _cond(pred: Any, true_fn: Any, false_fn: Any, operands: Any = ()) -> Any:
    if isinstance(pred, (bool, int)):
        return (true_fn if pred else false_fn)(*operands)
    return jax.lax.cond(jnp.reshape(pred, ()), lambda xs: true_fn(*xs), lambda xs: false_fn(*xs), tuple(operands))


@register_op("while_loop")
def _while_loop(cond_fn: Any, body_fn: Any, carried_inputs: Any, additional_inputs: Any = ()) -> Any:
    start = tuple(map(jnp.asarray, carried_inputs))

    def step(carry: Any) -> Any:
        values, count = carry
        after = body_fn(*values, *additional_inputs, step=count)
        return tuple(jnp.asarray(a, v.dtype) for a, v in zip(after, values, strict=True)), count + 1

    def more(carry: Any) -> Any:
        return jnp.reshape(jnp.asarray(cond_fn(*carry[0], *additional_inputs)[0], bool), ())

    return jax.lax.while_loop(more, step, (start, jnp.uint32(0)))[0]


@register_op("scan")
def _scan(combine_fn: Any, init: Any, xs: Any, additional_inputs: Any = ()) -> Any:
    def step(carry: Any, x: Any) -> Any:
        values, count = carry
        out = combine_fn(*values, *x, *additional_inputs, step=count)
        after = tuple(jnp.asarray(a, v.dtype) for a, v in zip(out[: len(values)], values, strict=True))
        return (after, count + 1), out[len(values) :]

    (carry, _), ys = jax.lax.scan(step, (tuple(init), jnp.uint32(0)), tuple(xs))
    return (*carry, *ys)


@register_op("map_impl", "map")
def _map(f: Any, xs: Any, pos_args: Any = ()) -> Any:
    def one(x: Any) -> Any:
        count, rows = x
        return f(*rows, *pos_args, step=count)

    return jax.lax.map(one, (jnp.arange(xs[0].shape[0], dtype=jnp.uint32), tuple(xs)))


@register_op("associative_scan")
def _associative_scan(combine_fn: Any, xs: Any, additional_inputs: Any = ()) -> Any:
    def combine(a: Any, b: Any) -> Any:
        # jax hands whole ranges, torch's function takes single elements
        return jax.vmap(lambda x, y: combine_fn(*x, *y, *additional_inputs))(a, b)

    return jax.lax.associative_scan(combine, tuple(xs))
