"""Do rates in a row leave holes? HDC's published rule and an exact test."""


def published_rule(rates, kernel=3):
    """Whether M_2 <= K, as the paper has it; it errs both ways.

    M_n = r_n; M_i = max(M_{i+1} - 2 r_i, M_{i+1} - 2 (M_{i+1} - r_i), r_i).
    """
    if len(rates) < 2:
        raise ValueError(f"rates={rates}: the rule is about two or more")
    m = rates[-1]
    for rate in reversed(rates[1:-1]):
        m = max(m - 2 * rate, m - 2 * (m - rate), rate)
    return m <= kernel


def covers(layers):
    """Whether the weights of a stack touch every pixel of its field.

    `layers` are tuples (kernel, stride, dilation), first to last. The step
    of a layer is its dilation times the strides before it. Sorted by their
    steps, no step may exceed the field of the layers before it.
    """
    steps, jump = [], 1
    for kernel, stride, dilation in layers:
        steps.append((dilation * jump, kernel - 1))
        jump *= stride
    field = 1
    for step, taps in sorted(steps):
        if taps and step > field:
            return False
        field += taps * step
    return True


if __name__ == "__main__":
    for rates in ((1, 2, 5), (1, 2, 9), (2, 3), (1, 3, 1)):
        exact = covers([(3, 1, rate) for rate in rates])
        print(rates, published_rule(rates), exact)
    # (1, 2, 5) True True
    # (1, 2, 9) False False
    # (2, 3) True False
    # (1, 3, 1) False True
