import os

import pytest
import torch
from hypothesis import settings

from built import SITE

# Timings vary on shared machines; the same examples are drawn every time.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture(scope="session")
def site():
    """The built site; where it is not: skipped, or failed where CI is set."""
    if not SITE.exists():
        words = "THE SITE IS NOT BUILT AND NOT CHECKED: run `make book`"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(words)
    return SITE


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers, alone or after others."""
    torch.manual_seed(0)
