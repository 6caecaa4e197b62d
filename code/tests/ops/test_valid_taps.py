"""Where a tap is valid."""

import pytest

from atrous.arithmetic import Window, valid_weights
from atrous.ops.valid_taps import tap_ranges


@pytest.mark.parametrize("rate", [1, 7, 12, 16, 17, 24, 32, 33])
@pytest.mark.parametrize("padding", [0, 9, 24])
def test_reaches_count_the_valid_weights(rate, padding):
    """The products done are the valid weights of the figure, no more."""
    window = Window(3, dilation=rate, padding=padding)
    if 33 + 2 * padding < window.span:
        return
    counted = sum(n * m for n, m in valid_weights(33, window).items())
    axis = sum(r.last - r.first for r in tap_ranges(33, 3, padding, rate))
    assert axis**2 == counted


def test_a_rate_beyond_the_map_leaves_one_tap():
    assert tap_ranges(9, 3, 9, 9) == ((1, 0, 9, 0),)
    assert [reach.tap for reach in tap_ranges(9, 3, 8, 8)] == [0, 1, 2]
    assert tap_ranges(1, 1, 2, 1) == ((0, 2, 3, -2),)
