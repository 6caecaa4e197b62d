"""Output size and receptive field of any stack of convolutions."""


def output_size(size, layers):
    """Side of the output: floor((n + 2p - K) / s) + 1, layer by layer.

    `layers` are tuples (kernel, stride, dilation, padding), first to last.
    """
    for kernel, stride, dilation, padding in layers:
        span = (kernel - 1) * dilation + 1
        if size + 2 * padding < span:
            raise ValueError(f"span {span}: does not fit into size={size}")
        size = (size + 2 * padding - span) // stride + 1
    return size


def receptive_field(layers):
    """Size, jump and start of the field of one output, in input pixels.

    The jump is the step between the fields of neighbouring outputs; the
    start is the centre of the first field, pixel 0 having its centre at 0.
    """
    size, jump, start = 1, 1, 0.0
    for kernel, stride, dilation, padding in layers:
        reach = (kernel - 1) * dilation
        size += reach * jump
        start += (reach / 2 - padding) * jump
        jump *= stride
    return size, jump, start


if __name__ == "__main__":
    rates = (1, 1, 2, 4, 8, 16, 1)
    context = [(3, 1, rate, rate) for rate in rates]
    print(output_size(64, context))  # 64
    print(receptive_field(context))  # (67, 1, 0.0)
    stem = [(7, 2, 1, 3), (3, 2, 1, 1)]
    print(output_size(224, stem))  # 56
    print(receptive_field(stem))  # (11, 4, 0.0)
