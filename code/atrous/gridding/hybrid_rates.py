"""Hybrid dilated convolution (HDC): which rates in a row leave no holes?

The rule as published, which is no criterion, and an exact criterion. Both
look along one axis; a picture has no holes if its axes have none. No torch
here.
"""

from collections.abc import Sequence

from atrous.arithmetic import Window, Windows, same_padding, usage

# Rates of the units of ResNet-101 by stage, the paper's res4 and res5.
# Source: Wang et al., arXiv:1702.08502; unit by unit TuSimple-DUC.
RESNET101_RATES = {
    3: (2, 2, 5, 9, *(1, 2, 5, 9) * 4, 1, 2, 5),
    4: (5, 9, 17),
}


def layers(rates: Sequence[int], *, kernel: int = 3) -> tuple[Window, ...]:
    """Layers of stride 1 that keep the size, one a rate.

    Raises:
        ValueError: If a number is below 1 or no padding keeps the size.
    """
    return tuple(
        Window(kernel, dilation=rate, padding=same_padding(kernel, rate))
        for rate in rates
    )


def largest_distances(rates: Sequence[int]) -> tuple[int, ...]:
    """M_1 to M_n: distances between nonzero weights, as the paper has them.

    M_n = r_n; M_i = max(M_{i+1} - 2 r_i, M_{i+1} - 2 (M_{i+1} - r_i), r_i).

    Raises:
        ValueError: If there is no rate or one is below 1.

    Source:
        Wang et al., arXiv:1702.08502, section 3.2.
    """
    if min(rates, default=0) < 1:
        raise ValueError(f"rates={rates}: must be one or more, at least 1")
    found = [rates[-1]]
    for rate in reversed(rates[:-1]):
        m = found[-1]
        found.append(max(m - 2 * rate, m - 2 * (m - rate), rate))
    return tuple(reversed(found))


def published_rule(rates: Sequence[int], *, kernel: int = 3) -> bool:
    """Whether the paper's rule accepts the rates: M_2 <= K.

    The truth is what `covers` says. They agree on sorted rates that begin
    with 1; elsewhere the rule errs both ways: it accepts 2, 3, which leaves
    holes, and rejects 1, 3, 1, which leaves none. The paper's other demand,
    that rates have no common factor, is not part of it, and mends neither.

    Raises:
        ValueError: If there are fewer than two rates or one is below 1.

    Source:
        Wang et al., arXiv:1702.08502, section 3.2.
    """
    if len(rates) < 2:
        raise ValueError(f"rates={rates}: the rule is about two or more")
    return largest_distances(rates)[1] <= kernel


def covers(stack: Windows) -> bool:
    """Whether the weights of a stack touch every pixel of its field.

    Each layer has a step, its dilation times the strides before it. Sort
    the layers by their steps, without those of one tap. There is no hole if
    and only if no step exceeds the field of the layers sorted before it,

        step_i <= 1 + sum over j < i of (k_j - 1) step_j,

    which for 3 taps and stride 1 is r_i <= 1 + 2 (r_1 + ... + r_{i-1}). The
    order of layers of stride 1 does not matter.

    If the first layers reach all of F pixels, copies of these a step apart
    leave no hole as long as the step is at most F. If it is more, pixel F
    is out of reach: of this layer, and of all later ones, whose steps are
    no smaller.
    """
    steps, jump = [], 1
    for window in stack:
        steps.append((window.dilation * jump, window.kernel - 1))
        jump *= window.stride
    field = 1
    for step, taps in sorted(steps):
        if taps and step > field:
            return False
        field += taps * step
    return True


def reached(stack: Windows) -> tuple[int, int]:
    """Pixels of its field that a stack's weights touch, and all of them."""
    counts = usage(stack)
    return sum(ways > 0 for ways in counts), len(counts)
