"""torch.nn.utils: what is done to modules and their arrays from outside."""

from stateful.utils import rnn

__all__ = ["rnn"]
