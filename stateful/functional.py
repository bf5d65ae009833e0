"""purenn.functional under the name that ported code imports: ``import stateful.functional as F``."""

from purenn.functional import *  # noqa: F403
from purenn.functional import __all__ as __all__
