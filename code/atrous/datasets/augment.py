"""Random views of a picture and its label map, as training recipes say them.

An `Augmentation` is plain data: a recipe can hold it, print it and compare it.
It draws from a generator that it is given, and `Augmented` gives each item of
each epoch its own, so that neither the number of workers or processes nor the
order decides what is seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from atrous.datasets import geometry
from atrous.datasets.pairs import IGNORE

_STEPS = ("rotate", "resize", "crop", "flip", "colour")
# Luminance of red, green and blue. Source: ITU-R BT.601.
_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Uniform:
    """Any number from `low` to `high`, all equally likely.

    Raises:
        ValueError: If `low` is not in 0..`high`.
    """

    low: float
    high: float

    def __post_init__(self):
        if not 0 <= self.low <= self.high:
            raise ValueError(f"{self}: low must be in 0..high")


def steps(low: float, high: float, by: float) -> tuple[float, ...]:
    """Numbers from `low` to `high` in steps, such as 0.5, 0.75, 1.

    Raises:
        ValueError: If `by` is not positive or `low` is above `high`.
    """
    if by <= 0 or low > high:
        raise ValueError(f"low={low}, high={high}, by={by}: no such steps")
    count = math.floor((high - low) / by + 1e-9) + 1
    return tuple(round(low + i * by, 9) for i in range(count))


@dataclass(frozen=True, kw_only=True, repr=False)
class Augmentation:
    """A random view of a picture and its labels, as a recipe says it.

    Each step is left out where its option is not given. The picture is
    interpolated bilinearly, and each label is copied from the nearest pixel.
    Whatever stands beyond the border is labelled `IGNORE`. Printed are the
    options that differ from these.

    Attributes:
        rotation: Up to so many degrees either way, about the centre.
        size: Height and width that a picture is stretched to.
        short_side: Length of the shorter side, in pixels; or between which.
        scales: Factor on the size: between which, or one of several.
        area: Part of the picture's area that is seen, stretched to `crop`, in
            the proportions `aspect`, width through height.
        aspect: Between which, equally likely in the logarithm.
        trim: Half of the time, up to so many pixels are cut off, as many on
            the left as on the right and likewise above and below, and the
            rest is stretched to the size before.
        crop: Height and width of what is seen, at a random place.
        centre: The crop is in the middle, and not at a random place.
        small: What becomes of a picture smaller than the crop: "pad" or
            "stretch".
        pad_picture: Red, green and blue, in 0..1, beyond the border, also of
            a rotated picture; "reflect" mirrors it about the border pixel.
        around: Padding on all sides; else on the right and below.
        flip: Probability of left for right.
        flip_vertical: Probability of upside down.
        brightness: Factor from 1 - this to 1 + this.
        contrast: Likewise, about the mean grey of the picture.
        saturation: Likewise, about the grey of each pixel.
        antialias: A picture that shrinks is smoothed first.
        order: In which order the steps are done. "resize" is `size`,
            `short_side`, `scales` and `trim`; "crop" is `area` or `crop`;
            "colour" is brightness, contrast and saturation in random order.

    Raises:
        ValueError: If an option does not make sense, which is named.

    Source:
        The released code of DeepLab, DRN, ESPNet, LiteSeg and torchvision has
        one or another of the options; each recipe says which.

    Departs:
        DRN shrinks by Lanczos's filter, enlarges by a cubic one, and rotates
        by whole degrees. VainF's DeepLab labels what it pads background.
    """

    rotation: float = 0
    size: tuple[int, int] | None = None
    short_side: int | Uniform | None = None
    scales: Uniform | Sequence[float] | None = None
    trim: int = 0
    area: Uniform | None = None
    aspect: Uniform = Uniform(3 / 4, 4 / 3)
    crop: tuple[int, int] | None = None
    centre: bool = False
    small: str = "pad"
    pad_picture: tuple[float, float, float] | str = (0.0, 0.0, 0.0)
    around: bool = False
    flip: float = 0
    flip_vertical: float = 0
    brightness: float = 0
    contrast: float = 0
    saturation: float = 0
    antialias: bool = True
    order: tuple[str, ...] = _STEPS

    def __post_init__(self):
        for name, fine, wanted in self._demands():
            if not fine:
                value = getattr(self, name)
                raise ValueError(f"{name}={value!r}: must be {wanted}")

    def _demands(self):
        """Name of each option, whether it is fine, and what it must be."""
        parts = "flip", "flip_vertical", "brightness", "contrast", "saturation"
        for name in parts:
            yield name, 0 <= getattr(self, name) <= 1, "in 0..1"
        for name in "size", "crop":
            value = getattr(self, name)
            fine = value is None or (len(value) == 2 and min(value) >= 1)
            yield name, fine, "a height and a width"
        yield "rotation", 0 <= self.rotation <= 180, "in 0..180"
        yield "short_side", _least(self.short_side) >= 1, "1 or more"
        yield "scales", _least(self.scales) > 0, "more than 0"
        yield "trim", self.trim >= 0, "0 or more"
        fine = self.area is None or 0 < self.area.high <= 1
        yield "area", fine, "a part of the picture, up to 1"
        yield "aspect", self.aspect.low > 0, "more than 0"
        fine = self.crop is not None or not (self.area or self.centre)
        yield "crop", fine, "given with area or centre"
        yield "small", self.small in ("pad", "stretch"), '"pad" or "stretch"'
        fill = self.pad_picture
        fine = fill == "reflect" or (
            len(fill) == 3 and all(0 <= float(c) <= 1 for c in fill)
        )
        yield "pad_picture", fine, '"reflect" or a colour in 0..1'
        fine = sorted(self.order) == sorted(_STEPS)
        yield "order", fine, f"{_STEPS} in any order"

    def __repr__(self):
        given = [
            f"{option.name}={getattr(self, option.name)!r}"
            for option in fields(self)
            if getattr(self, option.name) != option.default
        ]
        return f"Augmentation({', '.join(given)})"

    def __call__(
        self, picture: Tensor, labels: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw a view.

        Args:
            picture: Float (3, H, W) in 0..1.
            labels: int64 (H, W), `IGNORE` where there is none; or a whole
                picture's class, (), which stays as it is.
            generator: Of the CPU. All random numbers come from it.

        Raises:
            ValueError: If the shapes or the type of the labels do not fit.
        """
        if labels.ndim == 0:
            nowhere = labels.expand(picture.shape[-2:])
            return self(picture, nowhere, generator)[0], labels
        fine = labels.dtype == torch.int64
        if not fine or labels.shape != picture.shape[-2:]:
            raise ValueError(
                f"labels {labels.dtype} {tuple(labels.shape)}: must be int64 "
                f"(H, W) of the picture {tuple(picture.shape)}, or ()"
            )
        for step in self.order:
            picture, labels = getattr(self, f"_{step}")(
                picture, labels, generator
            )
        return picture.contiguous(), labels.contiguous()

    def _rotate(self, picture, labels, generator):
        if not self.rotation:
            return picture, labels
        degrees = _draw(generator, -self.rotation, self.rotation)
        size = tuple(labels.shape)
        grid = geometry.rotation_grid(size, degrees, size)
        return (
            geometry.sample_picture(picture, grid, self.pad_picture),
            geometry.sample_labels(labels, grid, IGNORE),
        )

    def _resize(self, picture, labels, generator):
        size = self.size or tuple(labels.shape)
        if self.short_side is not None:
            side = self.short_side
            if isinstance(side, Uniform):
                side = round(_draw(generator, side.low, side.high))
            size = tuple(n * side // min(size) for n in size)
        if isinstance(self.scales, Uniform):
            factor = _draw(generator, self.scales.low, self.scales.high)
            size = tuple(int(n * factor) for n in size)
        elif self.scales is not None:
            factor = self.scales[_whole(generator, len(self.scales))]
            size = tuple(int(n * factor) for n in size)
        size = tuple(max(1, n) for n in size)
        picture, labels = self._stretch(picture, labels, size)
        if self.trim and _draw(generator, 0, 1) < 0.5:
            y, x = (
                min(_whole(generator, self.trim + 1), (n - 1) // 2)
                for n in size
            )
            part = slice(y, size[0] - y), slice(x, size[1] - x)
            picture, labels = picture[:, *part], labels[part]
        return self._stretch(picture, labels, size)

    def _crop(self, picture, labels, generator):
        if self.crop is None:
            return picture, labels
        if self.area is not None:
            part = self._part(labels.shape, generator)
            return self._stretch(picture[:, *part], labels[part], self.crop)
        if self.small == "pad":
            fill, around = self.pad_picture, self.around
            picture = geometry.pad_to(picture, self.crop, fill, around=around)
            labels = geometry.pad_to(labels, self.crop, IGNORE, around=around)
        else:
            size = zip(labels.shape, self.crop, strict=True)
            size = tuple(max(old, new) for old, new in size)
            picture, labels = self._stretch(picture, labels, size)
        room = [m - n for m, n in zip(labels.shape, self.crop, strict=True)]
        if self.centre:
            start = [n // 2 for n in room]
        else:
            start = [_whole(generator, n + 1) for n in room]
        part = _window(start, self.crop)
        return picture[:, *part], labels[part]

    def _part(self, size, generator):
        """A window of random area and proportions that fits."""
        height, width = size
        for _ in range(10):  # as in torchvision's RandomResizedCrop
            area = _draw(generator, self.area.low, self.area.high)
            low, high = math.log(self.aspect.low), math.log(self.aspect.high)
            aspect = math.exp(_draw(generator, low, high))
            h = round(math.sqrt(area * height * width / aspect))
            w = round(math.sqrt(area * height * width * aspect))
            if 0 < h <= height and 0 < w <= width:
                rooms = height - h + 1, width - w + 1
                start = [_whole(generator, room) for room in rooms]
                return _window(start, (h, w))
        # A very long picture: the middle, as long as the proportions allow.
        h = min(height, round(width / self.aspect.low))
        w = min(width, round(height * self.aspect.high))
        return _window([(height - h) // 2, (width - w) // 2], (h, w))

    def _flip(self, picture, labels, generator):
        for probability, dim in (self.flip, -1), (self.flip_vertical, -2):
            if probability and _draw(generator, 0, 1) < probability:
                picture, labels = picture.flip(dim), labels.flip(dim)
        return picture, labels

    def _colour(self, picture, labels, generator):
        changes = self.brightness, self.contrast, self.saturation
        for which in torch.randperm(3, generator=generator).tolist():
            if changes[which] == 0:
                continue
            change = _draw(generator, -changes[which], changes[which])
            picture = (1 + change) * picture - change * _anchor(picture, which)
            picture = picture.clamp(0, 1)
        return picture, labels

    def _stretch(self, picture, labels, size):
        if tuple(labels.shape) == tuple(size):
            return picture, labels
        return (
            geometry.resize_picture(picture, size, antialias=self.antialias),
            geometry.resize_labels(labels, size),
        )


class Augmented(Dataset):
    """A data set whose items are seen through an augmentation.

    Item i of epoch e draws from a generator that `seed`, e and i decide, and
    nothing else. So a run that is taken up again in the middle, or shared by
    two processes, sees what one run in one process sees.

    Args:
        dataset: Of pairs (picture, labels), as `Augmentation` takes them.
        augmentation: What is done to each.
        seed: 0 or more.

    Raises:
        ValueError: If `seed` or an epoch is negative.
    """

    def __init__(self, dataset, augmentation: Augmentation, seed: int = 0):
        _not_negative("seed", seed)
        self.dataset, self.augmentation = dataset, augmentation
        self.seed = seed
        # In shared memory, where workers that outlive an epoch see it change.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def epoch(self) -> int:
        """Which pass over the data it is, from 0."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Say which pass over the data it is, before it begins."""
        _not_negative("epoch", epoch)
        self._epoch.fill_(epoch)

    def __getattr__(self, name):
        if name.startswith("_") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)  # classes, colours, files

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        place = index % len(self)
        state = np.random.SeedSequence((self.seed, self.epoch, place))
        seed = int(state.generate_state(1, np.uint64)[0])
        generator = Generator().manual_seed(seed)
        return self.augmentation(*self.dataset[index], generator)


def _draw(generator: Generator, low: float, high: float) -> float:
    unit = torch.rand((), dtype=torch.float64, generator=generator).item()
    return low + (high - low) * unit


def _whole(generator: Generator, count: int) -> int:
    return int(torch.randint(count, (), generator=generator))


def _window(start, size) -> tuple[slice, slice]:
    return tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))


def _anchor(picture: Tensor, which: int) -> Tensor:
    """What does not change: black, the mean grey or each pixel's grey."""
    if which == 0:
        return picture.new_zeros(())
    grey = (picture.new_tensor(_GREY)[:, None, None] * picture).sum(0)
    return grey.mean() if which == 1 else grey


def _least(value) -> float:
    """The least that an option may draw; 1 if it is not given."""
    if isinstance(value, Uniform):
        return value.low
    values = value if isinstance(value, Sequence) else (value,)
    return min((1 if v is None else v for v in values), default=0)


def _not_negative(name: str, value: int) -> None:
    if value < 0:
        raise ValueError(f"{name}={value}: must be 0 or more")
