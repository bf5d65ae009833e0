"""torch's containers for several devices, which jax has no use for."""

from collections.abc import Sequence
from typing import Any

from stateful.module import Module


class DataParallel(Module):
    """Refuses: in jax the arrays are spread over the devices, and the module stays as it is.

    Args:
        module: not used.
        device_ids: not used.
        output_device: not used.
        dim: not used.

    Errors:
        NotImplementedError: always.
    """

    def __init__(self, module: Any, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0):
        del module, device_ids, output_device, dim
        raise NotImplementedError(
            "DataParallel: modules are not replicated; a batch that is spread over the devices makes every operation "
            "run on all of them. mesh = jax.make_mesh((jax.device_count(),), ('batch',)); "
            "x = jax.device_put(x, jax.NamedSharding(mesh, jax.P('batch'))); nn.jit(module)(x)."
        )
