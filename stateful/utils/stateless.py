"""torch.nn.utils.stateless: the older place of ``functional_call``."""

from transforms.func import functional_call

__all__ = ["functional_call"]
