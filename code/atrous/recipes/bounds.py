"""Which words and numbers a recipe may hold, by the paths of its values."""

from collections.abc import Mapping
from typing import Any

# Words that a recipe may use, by the path of their value.
WORDS = {
    "pixels.order": ("RGB", "BGR"),
    "optimiser.kind": ("sgd", "adam"),
    "schedule.kind": ("constant", "poly", "step"),
    "loss.kind": ("cross_entropy", "edges"),
    "loss.places": ("pixels", "logits", "window", "scales"),
    "unit": ("iterations", "epochs"),
    "last_batch": ("wrap", "keep"),
    "normalisation": ("batch", "frozen"),
    "evaluation.metric": ("mean IoU", "top-1 error", "ODS"),
    "evaluation.fusion": (
        "probabilities",
        "log probabilities",
        "logits",
        "maximum",
    ),
}
# The least that a number may be, by its path, and whether it must be more.
LEAST = {
    "length": (1, False),
    "batch": (1, False),
    "repeats": (1, False),
    "data.margin": (0, False),
    "pixels.scale": (0, True),
    "pixels.std": (0, True),
    "optimiser.lr": (0, True),
    "optimiser.momentum": (0, False),
    "optimiser.betas": (0, False),
    "optimiser.weight_decay": (0, False),
    "optimiser.clip": (0, True),
    "schedule.every": (0, False),
    "schedule.at": (0, False),
    "network.scales": (0, True),
    "evaluation.scales": (0, True),
    "evaluation.tile": (0, False),
    "evaluation.resize": (0, False),
    "evaluation.crop": (0, False),
}
FILLED = "network.scales", "evaluation.scales"  # of one number or more
KINDS = ("", "bias", "norm")  # of a rule


def check(values: Mapping[str, Any]) -> None:
    """Refuse words that no code knows, and numbers that make no sense.

    Args:
        values: Of a recipe, by path.

    Raises:
        ValueError: If there is one; names its path and what is allowed.
    """
    for path, known in WORDS.items():
        if values[path] not in known:
            raise ValueError(
                f"{path}={values[path]!r}: must be one of {known}"
            )
    for path, (least, more) in LEAST.items():
        value = values[path]
        numbers = value if isinstance(value, list) else [value]
        if path in FILLED and not numbers:
            raise ValueError(f"{path}={value}: must hold a number")
        for number in numbers:
            if number is None or number > least:
                continue
            if more or number < least:
                word = "more than" if more else "at least"
                raise ValueError(f"{path}={value}: must be {word} {least}")
    for path, value in values.items():
        of_rule = path.startswith("optimiser.rules.") and path[-5:] == ".kind"
        if of_rule and value not in KINDS:
            raise ValueError(f"{path}={value!r}: must be one of {KINDS}")
