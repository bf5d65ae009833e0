"""What several test files share."""

import jax
import pytest


@pytest.fixture(scope="module")
def quick_compilation():
    """Where the laws are about numbers and structure, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
