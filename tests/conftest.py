"""What several test files share."""

import gc

import jax
import pytest


def pytest_configure():
    """jax's caches grow by millions of objects over the tests: looking through them for garbage is to be rare."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="module", autouse=True)
def forgotten_programs():
    """What one file has compiled is of no use to the next."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="module")
def quick_compilation():
    """Where the laws are about numbers and structure, not speed: XLA's optimizations would take half of the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
