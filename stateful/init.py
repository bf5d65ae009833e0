"""purenn.init under the name that ported code imports: ``from stateful import init``."""

from purenn.init import *  # noqa: F403
from purenn.init import __all__ as __all__
