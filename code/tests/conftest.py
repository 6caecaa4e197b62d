import os

from hypothesis import settings

# Timings vary on shared machines; the same examples are drawn every time.
settings.register_profile("book", deadline=None, derandomize=True)
settings.load_profile("book")
os.environ.setdefault("TQDM_DISABLE", "1")
