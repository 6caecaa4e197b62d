"""Conventions of ResNets: what weights of each origin expect."""

# The three choices that a convention makes. Sources: torchvision's resnet;
# the Caffe-born ResNet-101 of DeepLab v2 as ported by kazuto1011.
CONVENTIONS = {
    "torchvision": {
        "stride_on": "3x3",
        "ceil_mode": False,
        "first_unit": "previous",
    },
    "caffe": {"stride_on": "1x1", "ceil_mode": True, "first_unit": "full"},
}
CHOICES = {
    "stride_on": ("3x3", "1x1"),
    "ceil_mode": (False, True),
    "first_unit": ("previous", "full", "undilated"),
}


def resolve(convention: str, **choices) -> dict:
    """The three choices of a convention, those that are not None replaced.

    Raises:
        ValueError: If the convention or a choice is unknown.
    """
    if convention not in CONVENTIONS:
        raise ValueError(
            f"convention={convention!r}: must be one of {[*CONVENTIONS]}"
        )
    given = {name: v for name, v in choices.items() if v is not None}
    check(**given)
    return CONVENTIONS[convention] | given


def check(**choices) -> None:
    """Raise ValueError if one of the `CHOICES` has an unknown value."""
    for name, value in choices.items():
        if value not in CHOICES[name]:
            raise ValueError(
                f"{name}={value!r}: must be one of {CHOICES[name]}"
            )
