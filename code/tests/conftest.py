import contextlib
import os
import random
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, register_random, settings

from built_site import SITE

# Timings vary on shared machines; the same examples are drawn every time.
# For that, strategies draw whole numbers below 100 and make others of them:
# larger ones and decimals Hypothesis also takes from the modules of ours that
# happen to be imported.
settings.register_profile(
    "book",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("book")
os.environ.setdefault("TQDM_DISABLE", "1")


class TorchRandom:
    """What Hypothesis needs to know of torch's random numbers.

    It seeds the registered generators before each example, and puts them
    back after it.
    """

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


register_random(TorchRandom)


@contextlib.contextmanager
def same_numbers():
    """All generators of the process are seeded, and put back at the end."""
    devices = range(torch.accelerator.device_count())
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


# A file draws the same numbers when it is imported, a fixture when it is
# made and a test when it is called: alone, in any order, after any other.


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    with same_numbers():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup():
    with same_numbers():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    with same_numbers():
        return (yield)


@pytest.fixture(scope="session")
def site():
    """The built site; where it is not: skipped, or failed where CI is set."""
    if not SITE.exists():
        words = "THE SITE IS NOT BUILT AND NOT CHECKED: run `make book`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(words)
    return SITE


@pytest.fixture
def quiet():
    """For small pictures, whose maps are smaller than the rates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="on a feature map of")
        yield
