import os

import pytest
import torch
from hypothesis import settings

# Timings vary on shared machines; the same examples are drawn every time.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers, alone or after others."""
    torch.manual_seed(0)
