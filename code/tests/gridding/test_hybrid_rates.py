"""HDC: the published rule, the exact criterion, and brute force."""

from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atrous.arithmetic import Window, coverage, output_size
from atrous.gridding.hybrid_rates import (
    RESNET101_RATES,
    covers,
    largest_distances,
    layers,
    published_rule,
    reached,
)


def full(rates, kernel=3):
    """No offset left out: a set of offsets is an integer, one bit each."""
    bits = 1
    for rate in rates:
        before, bits = bits, 0
        for tap in range(kernel):
            bits |= before << (tap * rate)
    return bits & (bits + 1) == 0  # 0...01...1


@pytest.mark.parametrize(
    ("rates", "touched", "span"),
    [
        ((1, 2, 5), 17, 17),
        ((1, 2, 9), 21, 25),
        ((5, 9, 17), 27, 63),
        ((2, 2, 2), 7, 13),
        ((2,) * 6, 13, 25),  # the six of CSRNet
        ((), 1, 1),
    ],
)
def test_offsets_reached(rates, touched, span):
    assert reached(layers(rates)) == (touched, span)
    assert covers(layers(rates)) == (touched == span)


def test_the_criterion_is_exact_for_all_lists_of_five_rates_up_to_12():
    """The order of a list changes neither side: multisets stand for them."""
    for n in range(1, 6):
        for rates in combinations_with_replacement(range(1, 13), n):
            assert covers(layers(rates)) == full(rates), rates


def test_the_order_of_layers_of_stride_1_does_not_matter():
    for rates in ((1, 3, 9, 27), (1, 3, 10, 27), (2, 1, 5)):
        found = {covers(layers(order)) for order in permutations(rates)}
        assert found == {full(rates)}


windows = st.builds(
    Window, st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)
)


@given(st.lists(windows, max_size=4))
def test_the_criterion_holds_for_any_kernels_and_strides(stack):
    assert covers(stack) == (coverage(stack, axes=1) == 1)


def test_a_stride_spreads_the_steps_after_it():
    for kernel, stride, rate in product(range(1, 5), range(1, 5), (1, 2)):
        stack = (Window(kernel, stride), Window(3, dilation=rate))
        assert covers(stack) == (stride * rate <= kernel)


@pytest.mark.parametrize("kernel", [2, 4, 5])
def test_the_criterion_is_exact_for_other_kernels(kernel):
    for rates in combinations_with_replacement(range(1, 9), 3):
        stack = [Window(kernel, dilation=rate) for rate in rates]
        assert covers(stack) == full(rates, kernel)


def test_the_published_rules_examples():
    assert largest_distances((1, 2, 5)) == (1, 2, 5)
    assert largest_distances((1, 2, 9)) == (3, 5, 9)
    assert published_rule((1, 2, 5))
    assert not published_rule((1, 2, 9))
    assert published_rule((1, 2, 9), kernel=5)


def test_the_published_rule_errs_both_ways():
    for rates in ((2, 3), (2, 2, 2), (2, 3, 4), (2, 2, 5, 9)):
        assert published_rule(rates)
        assert not covers(layers(rates))
    assert not published_rule((1, 3, 1))
    assert covers(layers((1, 3, 1)))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_published_rule_is_exact_on_sorted_rates_from_1(n):
    for more in combinations_with_replacement(range(1, 13), n - 1):
        assert published_rule((1, *more)) == full((1, *more)), more


def test_largest_distances_step_by_step():
    """The recursion, written out for three layers."""
    for rates in product(range(1, 7), repeat=3):
        r1, r2, r3 = rates
        m2 = max(r3 - 2 * r2, 2 * r2 - r3, r2)
        m1 = max(m2 - 2 * r1, 2 * r1 - m2, r1)
        assert largest_distances(rates) == (m1, m2, r3)


def test_the_rates_of_the_network():
    stage_3, stage_4 = RESNET101_RATES[3], RESNET101_RATES[4]
    assert stage_3[:4] == (2, 2, 5, 9)
    assert stage_3[4:20] == (1, 2, 5, 9) * 4
    assert stage_3[20:] == (1, 2, 5)
    assert stage_4 == (5, 9, 17)
    assert covers(layers(stage_3 + stage_4))
    assert not covers(layers((2,) * 23 + (4,) * 3))  # what they replace
    assert output_size(40, layers(stage_4)) == 40


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers((1, 0)), "dilation=0"),
        (lambda: layers((1, 3), kernel=4), "kernel=4, dilation=1"),
        (lambda: largest_distances(()), r"rates=\(\)"),
        (lambda: largest_distances((1, 0)), r"rates=\(1, 0\)"),
        (lambda: published_rule((3,)), r"rates=\(3,\).*two or more"),
    ],
)
def test_wrong_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
