"""What depends on how a batch is shared is said, and nothing else."""

import pytest
from torch import nn

from atrous.recipes.plain_data import override
from atrous.recipes.published import recipe
from atrous.recipes.remarks import remarks

FOUND = recipe("espnet_camvid")  # batches of six
NORMS = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
DROPS = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5))


@pytest.mark.parametrize(
    ("network", "share", "before", "wanted"),
    [
        (NORMS, (1, 1), None, []),
        (NORMS, (6, 1), None, []),
        (NORMS, (6, 1), (6, 1), []),
        (NORMS, (1, 4), None, ["sees up to 2 of 6 pictures at a time"]),
        (NORMS, (2, 1), (1, 1), ["so far on 1 processes in 1 parts each"]),
        (DROPS, (1, 1), None, []),
        (DROPS, (2, 1), None, ["dropout draws"]),
        (DROPS, (1, 2), None, ["dropout draws"]),
        (DROPS, (1, 1), (2, 1), ["so far on 2 processes", "dropout draws"]),
        (nn.Dropout(0.0), (2, 2), None, []),
    ],
)
def test_remarks(network, share, before, wanted):
    found = remarks(network, FOUND, share, before)
    assert len(found) == len(wanted)
    for sentence, words in zip(found, wanted, strict=True):
        assert words in sentence


def test_frozen_norms_do_not_mind_parts():
    frozen = override(FOUND, "normalisation=frozen")
    assert remarks(NORMS, frozen, (1, 4)) == []
