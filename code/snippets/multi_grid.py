"""Strides and rates of a ResNet at an output stride, with Multi-Grid."""


def stage_plan(output_stride, stem=4, strides=(1, 2, 2, 2)):
    """Stride and dilation of each stage.

    Strides are kept until the output stride is reached; each one left out
    multiplies the dilation of its own and all later stages.
    """
    plan, current, dilation = [], stem, 1
    for stride in strides:
        if current == output_stride:
            stride, dilation = 1, dilation * stride
        current *= stride
        plan.append((stride, dilation))
    if current != output_stride:
        raise ValueError(f"output_stride={output_stride}: not reached")
    return plan


def unit_plan(
    units, output_stride, multi_grid=(1, 2, 4), first_unit="previous"
):
    """Stride of each bottleneck unit, and rate of its 3x3 convolution.

    A rate of the last stage is the stage's times that of `multi_grid`. In
    the first unit of a dilated stage, "previous" keeps the dilation of the
    stage before, which is exact for weights as torchvision's, where that
    3x3 has the stride; "full", for weights where the 1x1 before it has it.
    """
    if len(multi_grid) != units[-1]:
        raise ValueError(f"multi_grid={multi_grid}: needs {units[-1]} rates")
    plan, before = [], 1
    stages = stage_plan(output_stride)
    for number, (stride, dilation) in enumerate(stages):
        last = number == len(stages) - 1
        rows = []
        for unit in range(units[number]):
            keeps = unit == 0 and first_unit == "previous"
            rate = before if keeps else dilation
            rate *= multi_grid[unit] if last else 1
            rows.append((stride if unit == 0 else 1, rate))
        before = dilation
        plan.append(rows)
    return plan


if __name__ == "__main__":
    print(stage_plan(8))  # [(1, 1), (2, 1), (1, 2), (1, 4)]
    resnet50 = (3, 4, 6, 3)
    exact = unit_plan(resnet50, 16)
    print(exact[3])  # [(1, 1), (1, 4), (1, 8)]
    paper = unit_plan(resnet50, 16, first_unit="full")
    print(paper[3])  # [(1, 2), (1, 4), (1, 8)]
