"""The arithmetic of dilated convolutions: sizes, fields, strides, holes.

A network's spatial structure is data: a tuple of `Window`s, first layer
first. Receptive fields, figures and modules are all derived from that tuple.
Every count is per axis, in pixels of the input. No torch here.
"""

import itertools
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral


def check_positive(**numbers: int) -> None:
    """Refuse what must be at least 1 and is not.

    Raises:
        ValueError: If a number is below 1; names it and its value.
    """
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")


def effective_kernel(kernel: int, dilation: int = 1) -> int:
    """Side of the dense window that a dilated kernel spans.

    K = k + (k - 1)(r - 1), in pixels of the layer's input.

    Raises:
        ValueError: If `kernel` or `dilation` is below 1.

    Source:
        Dumoulin & Visin, arXiv:1603.07285, section 5.1.
    """
    if kernel < 1 or dilation < 1:
        raise ValueError(
            f"kernel={kernel} and dilation={dilation}: both must be at least 1"
        )
    return kernel + (kernel - 1) * (dilation - 1)


def same_padding(kernel: int, dilation: int = 1) -> int:
    """Padding on each side that keeps the size at stride 1: (K - 1) / 2.

    Raises:
        ValueError: If the effective kernel is even: no padding does it.
    """
    span = effective_kernel(kernel, dilation)
    if span % 2 == 0:
        raise ValueError(
            f"kernel={kernel}, dilation={dilation}: the effective kernel "
            f"{span} is even, so no symmetric padding keeps the size"
        )
    return (span - 1) // 2


@dataclass(frozen=True)
class Window:
    """One convolution or pooling layer, seen along one axis.

    Attributes:
        kernel: Taps along the axis, at least 1.
        stride: Step between neighbouring outputs, at least 1.
        dilation: Step between neighbouring taps, at least 1; 1 is the
            ordinary convolution.
        padding: Pixels added on each side, at least 0.

    Raises:
        ValueError: If one of them is out of range or not an integer.
    """

    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: int = 0

    def __post_init__(self):
        lowest = {"kernel": 1, "stride": 1, "dilation": 1, "padding": 0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise ValueError(f"{name}={value!r}: must be an integer")
            if value < low:
                raise ValueError(f"{name}={value}: must be at least {low}")
            object.__setattr__(self, name, int(value))  # of NumPy's, too

    @property
    def span(self) -> int:
        """The effective kernel, in pixels of this layer's input."""
        return effective_kernel(self.kernel, self.dilation)


Windows = Sequence[Window]


def output_size(size: int, stack: Window | Windows) -> int:
    """Side of the output of a layer, or of a stack of layers.

    floor((n + 2p - K) / s) + 1, layer by layer.

    Raises:
        ValueError: If `size` is below 1 or a kernel does not fit.

    Source:
        Dumoulin & Visin, arXiv:1603.07285, relationship 15.
    """
    check_positive(size=size)
    for number, window in enumerate(_layers(stack), 1):
        padded = size + 2 * window.padding
        if padded < window.span:
            raise ValueError(
                f"layer {number}, {window}: the effective kernel "
                f"{window.span} does not fit into size={size} padded to "
                f"{padded}"
            )
        size = (padded - window.span) // window.stride + 1
    return size


@dataclass(frozen=True)
class Field:
    """What one output of a stack sees of the stack's input.

    Attributes:
        size: Receptive field, in input pixels.
        jump: Input pixels between neighbouring outputs: the output stride.
        start: Centre of output 0's field, in input pixels; the centre of
            input pixel 0 is 0. Half-integer if the field is even.
    """

    size: int = 1
    jump: int = 1
    start: float = 0.0


def fields(stack: Window | Windows) -> tuple[Field, ...]:
    """Receptive field, jump and start after each layer, bottom up.

    R_i = R_{i-1} + (K_i - 1) J_{i-1};  J_i = J_{i-1} s_i;
    start_i = start_{i-1} + ((K_i - 1) / 2 - p_i) J_{i-1}.

    Source:
        Araujo, Norris & Sim, Distill 2019, doi:10.23915/distill.00021,
        with K in place of k.
    """
    rows = []
    size, jump, start = 1, 1, 0.0
    for window in _layers(stack):
        size += (window.span - 1) * jump
        start += ((window.span - 1) / 2 - window.padding) * jump
        jump *= window.stride
        rows.append(Field(size, jump, start))
    return tuple(rows)


def receptive_field(stack: Window | Windows) -> int:
    """Input pixels along one axis that one output can depend on.

    Top down, from the last layer to the first:
    F_{i-1} = s_i (F_i - 1) + K_i. Equal to `fields(stack)[-1].size`.
    """
    size = 1
    for window in reversed(_layers(stack)):
        size = window.stride * (size - 1) + window.span
    return size


def usage(stack: Window | Windows) -> tuple[int, ...]:
    """In how many ways one output reaches each pixel of its field.

    Entry i counts the paths from pixel i to the output, along one axis; in
    two dimensions the counts multiply. A zero is a hole: no weight of the
    stack ever touches that pixel.
    """
    paths, jump = Counter({0: 1}), 1
    for window in _layers(stack):
        reached = Counter()
        for pixel, ways in paths.items():
            for tap in range(window.kernel):
                reached[pixel + tap * window.dilation * jump] += ways
        paths, jump = reached, jump * window.stride
    return tuple(paths[pixel] for pixel in range(max(paths) + 1))


def coverage(stack: Window | Windows, *, axes: int = 2) -> float:
    """Share of the receptive field that any weight touches, 0 < share <= 1.

    `axes=2` is the square field of a picture, `axes=1` a line of it.

    Raises:
        ValueError: If `axes` is below 1.
    """
    check_positive(axes=axes)
    counts = usage(stack)
    return (sum(ways > 0 for ways in counts) / len(counts)) ** axes


@dataclass(frozen=True)
class Stage:
    """Stride of a stage's first layer, and dilation of the stage."""

    stride: int
    dilation: int


def stage_plan(
    output_stride: int,
    *,
    stem: int = 4,
    strides: Sequence[int] = (1, 2, 2, 2),
) -> tuple[Stage, ...]:
    """Strides and dilations that hold a network at an output stride.

    A stage keeps its stride until `output_stride` is reached. From there
    on, each stride left out multiplies the dilation of its own and all later
    stages, so that every filter keeps its footprint on the picture.

    Args:
        output_stride: Input pixels per output pixel wanted.
        stem: Stride of what comes before the stages: 4 for a ResNet.
        strides: Strides of the undilated stages; a ResNet's by default.

    Raises:
        ValueError: If the strides do not reach it; names those they reach.

    Source:
        Chen et al., arXiv:1706.05587, section 3.1 and Figure 3.
    """
    if stem < 1 or min(strides, default=1) < 1:
        raise ValueError(f"stem={stem}, strides={strides}: must be at least 1")
    reachable = sorted({*itertools.accumulate((stem, *strides), operator.mul)})
    if output_stride not in reachable:
        raise ValueError(
            f"output_stride={output_stride}: these strides reach {reachable}"
        )
    plan, current, dilation = [], stem, 1
    for stride in strides:
        if current == output_stride:
            dilation *= stride
            stride = 1
        current *= stride
        plan.append(Stage(stride, dilation))
    return tuple(plan)


def valid_weights(size: int, window: Window) -> dict[int, int]:
    """On a square map: how many outputs have each number of valid weights.

    A weight is valid at an output if its tap falls inside the map, not on
    padding. A number that never occurs is left out.

    Source:
        Chen et al., arXiv:1706.05587, Figure 4.
    """
    taps = Counter()
    for i in range(output_size(size, window)):
        first = i * window.stride - window.padding
        places = (first + t * window.dilation for t in range(window.kernel))
        taps[sum(0 <= place < size for place in places)] += 1
    square = Counter()
    for rows, row_count in taps.items():
        for columns, column_count in taps.items():
            square[rows * columns] += row_count * column_count
    return dict(sorted(square.items()))


def _layers(stack: Window | Windows) -> tuple[Window, ...]:
    return (stack,) if isinstance(stack, Window) else tuple(stack)
