import pytest
from scipy.stats import ttest_rel

from atrous.experiments.statistics import (
    Comparison,
    Spread,
    compare,
    over_seeds,
)


def test_over_seeds_and_spread():
    spreads = over_seeds(lambda seed: {"a": seed / 10, "b": 1.0}, (1, 2, 3))
    assert spreads["a"].values == (0.1, 0.2, 0.3)
    assert spreads["a"].mean == pytest.approx(0.2)
    assert spreads["a"].std == pytest.approx(0.1)
    assert str(spreads["a"]) == "0.200 ± 0.100 (n=3)"
    assert Spread((0.5,)).std == 0


def test_interval_is_that_of_a_paired_t_test():
    one = Spread((0.61, 0.66, 0.63, 0.70, 0.64))
    other = Spread((0.60, 0.61, 0.64, 0.66, 0.62))
    found = compare(one, other)
    expected = ttest_rel(one.values, other.values).confidence_interval(0.95)
    assert found.interval == pytest.approx(tuple(expected))
    assert found.mean == pytest.approx(0.022)
    # By a table: t is 2.776 at four degrees of freedom.
    half = 2.776 * 0.0238747 / 5**0.5
    assert found.interval[1] - found.mean == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize(
    ("differences", "higher", "lower"),
    [
        ((0.02, 0.03, 0.04), "gain", "loss"),
        ((-0.02, -0.03, -0.04), "loss", "gain"),
        ((0.01, 0.03, 0.04), "not decided", "not decided"),
        ((-0.02, -0.03, 0.04), "not decided", "not decided"),
        ((0.02, 0.02), "gain", "loss"),
        ((0.0, 0.0), "not decided", "not decided"),
    ],
)
def test_verdict(differences, higher, lower):
    assert Comparison(differences).verdict == higher
    assert Comparison(differences, lower_is_better=True).verdict == lower
    pair = Spread(differences), Spread((0.0,) * len(differences))
    assert compare(*pair, lower_is_better=True).verdict == lower


def test_more_seeds_decide_what_fewer_do_not():
    assert Comparison((0.01, 0.05, 0.03)).verdict == "not decided"
    assert Comparison((0.01, 0.05, 0.03) * 2).verdict == "gain"


def test_cells_of_a_table():
    found = Comparison((0.02, 0.03, 0.04))
    assert found.cells() == ("+0.030", "+0.005 to +0.055", "gain")


def test_a_close_one_says_what_its_verdict_is_not():
    open_one = Comparison((0.01, 0.03, 0.04))
    assert open_one.cells("no loss") == (*open_one.cells()[:2], "no loss")
    assert open_one.cells("no gain")[2] == "no gain"
    assert Comparison((0.02, 0.03, 0.04)).cells("no loss")[2] == "no loss"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: over_seeds(lambda s: {}, ()), "seeds"),
        (lambda: over_seeds(lambda s: {str(s): 1.0}, (0, 1)), "other names"),
        (lambda: Comparison((0.1, 0.1)).cells("no gain"), "verdict is gain"),
        (lambda: Comparison((0.1, 0.1)).cells("gain"), "close='gain'"),
        (lambda: Comparison((0.1,)), "1 seed: .* at least two"),
        (
            lambda: compare(Spread((1.0, 2.0)), Spread((1.0,))),
            "2 and 1 seeds",
        ),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
