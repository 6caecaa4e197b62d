"""Three small tasks on real photographs, each with exact labels.

Training and test sets are made of different halves of the photographs, see
`atrous.experiments.photographs`. Every draw takes an explicit generator.

Each task isolates one thing: `mosaics` the resolution and the boundaries,
`shapes` the context and the scale, `far_cue` the receptive field alone. A
fourth, `silhouettes`, needs no photograph: shapes of one exact size.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor

from atrous.experiments.photographs import SPLITS, TEXTURES, textures

SHAPES = ("disk", "square", "triangle", "star", "ring")


def stream(
    task: Callable[..., tuple[Tensor, ...]], count: int, **options
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a task without end: pictures and labels.

    Args:
        task: `mosaics`, `shapes` or `far_cue`.
        count: Pictures in a batch.
        options: What the task takes, its generator among them.
    """
    while True:
        yield task(count, **options)[:2]


def mosaics(
    count: int,
    *,
    size: int = 128,
    split: str = "train",
    generator: Generator,
    regions: tuple[int, int] = (4, 8),
) -> tuple[Tensor, Tensor]:
    """Voronoi regions filled with textures; the class is the texture.

    A texture is local, so context is no help; edges are sharp, so the
    resolution of the scores is.

    Args:
        count: Pictures B.
        size: Side H = W, at most 191, the smallest photograph's.
        split: "train" or "test" halves of the photographs.
        generator: Source of all random numbers.
        regions: Fewest and most regions of a picture.

    Returns:
        Pictures (B, 3, H, W) and labels (B, H, W), the index in TEXTURES.

    Raises:
        ValueError: If a number is out of range or `split` is unknown.
    """
    _check(count, size, "regions", regions)
    pictures, labels = _empty(count, size)
    ys, xs = _grid(size)
    for picture, label in zip(pictures, labels, strict=True):
        number = _integer(*regions, generator)
        y, x = torch.rand(2, number, 1, 1, generator=generator) * size
        region = ((ys - y) ** 2 + (xs - x) ** 2).argmin(0)
        classes = torch.randint(len(TEXTURES), (number,), generator=generator)
        label[:] = classes[region]
        for index, name in enumerate(classes):
            crop = _crop(textures(split)[name], size, generator)
            picture[:, region == index] = crop[region == index]
    return pictures, labels


def shapes(
    count: int,
    *,
    size: int = 128,
    split: str = "train",
    generator: Generator,
    kinds: Sequence[str] = SHAPES,
    extent: tuple[int, int] = (14, 90),
    objects: tuple[int, int] = (2, 4),
    contrast: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """Bright textured shapes on textured ground; the class is the shape.

    Textures are drawn at random and say nothing; to tell a pixel's class a
    network must see the outline of the whole object around it.

    Args:
        count: Pictures B.
        size: Side H = W, at most 191.
        split: "train" or "test" halves of the photographs.
        generator: Source of all random numbers.
        kinds: The shapes to draw from, names of SHAPES.
        extent: Smallest and largest diameter of an object, in pixels.
        objects: Fewest and most objects of a picture; later ones cover
            earlier ones.
        contrast: How much brighter objects are than the ground, in
            standard deviations of the textures.

    Returns:
        Pictures (B, 3, H, W) and labels (B, H, W): 0 is ground, i + 1 is
        kinds[i].

    Raises:
        ValueError: If a number is out of range or a name unknown.
    """
    _check_kinds(kinds)
    _check(count, size, "objects", objects)
    _check(count, size, "extent", extent)
    pictures, labels = _empty(count, size)
    ys, xs = _grid(size)
    low, high = extent
    for picture, label in zip(pictures, labels, strict=True):
        picture[:] = _texture(size, split, generator)
        for _ in range(_integer(*objects, generator)):
            kind = _integer(0, len(kinds) - 1, generator)
            y, x, spin, scale = torch.rand(4, generator=generator).tolist()
            radius = (low + (high - low) * scale) / 2
            v, u = (ys - y * size) / radius, (xs - x * size) / radius
            angle = torch.atan2(v, u) + 2 * math.pi * spin
            inside = _inside(kinds[kind], torch.hypot(u, v), angle)
            crop = _texture(size, split, generator) + contrast
            picture[:, inside] = crop[inside]
            label[inside] = kind + 1
    return pictures, labels


def far_cue(
    count: int,
    *,
    size: int = 96,
    split: str = "train",
    generator: Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """One pixel of a photograph is marked; every pixel must tell its sign.

    Pictures come in pairs that differ in nothing but the sign of the mark,
    so a network whose field ends before the mark gives both the same answer
    and is right on exactly half of them.

    Args:
        count: Pictures B, even: B / 2 bright marks, then their dark twins.
        size: Side H = W, at most 191.
        split: "train" or "test" halves of the photographs.
        generator: Source of all random numbers.

    Returns:
        Pictures (B, 3, H, W); labels (B, H, W), 1 where the picture's mark
        is bright and 0 where it is dark; distances (B, H, W) to the mark in
        pixels, along rows or columns, whichever is larger.

    Raises:
        ValueError: If a number is out of range or `split` is unknown.
    """
    if count % 2:
        raise ValueError(f"count={count}: must be even, twins come in pairs")
    _check(count, size, "count", (count, count))
    ground = torch.stack(
        [_texture(size, split, generator) for _ in range(count // 2)]
    )
    ys, xs = _grid(size)
    marks = torch.randint(size, (2, count // 2, 1, 1), generator=generator)
    distances = torch.maximum((ys - marks[0]).abs(), (xs - marks[1]).abs())
    marked = torch.cat(
        [ground.where(distances > 0, sign * MARK) for sign in (1.0, -1.0)]
    )
    labels = torch.zeros(count, size, size, dtype=torch.long)
    labels[: count // 2] = 1
    pictures = marked[:, None].expand(-1, 3, -1, -1).contiguous()
    return pictures, labels, distances.repeat(2, 1, 1)


def silhouettes(
    count: int,
    *,
    diameter: int,
    generator: Generator,
    kinds: Sequence[str] = SHAPES[:4],
    noise: float = 0.3,
) -> tuple[Tensor, Tensor]:
    """One shape of an exact size in each picture; the class is the shape.

    Without noise, every r-th pixel of a picture at diameter r d is the
    picture at diameter d that the same generator draws: only the size
    differs.

    Args:
        count: Pictures B.
        diameter: Of the circle around each shape, in pixels, at least 2.
        generator: Source of all random numbers.
        kinds: The shapes to draw from, names of SHAPES.
        noise: Standard deviation of the noise on shape, 1, and ground, 0.

    Returns:
        Pictures (B, 1, 2 d, 2 d) and labels (B,), the index in `kinds`.
        Shapes are turned, and moved by up to a quarter of the diameter.

    Raises:
        ValueError: If a number is out of range or a name unknown.
    """
    _check_kinds(kinds)
    if count < 1 or diameter < 2 or noise < 0:
        raise ValueError(
            f"count={count}, diameter={diameter}, noise={noise}: must be at "
            "least 1, 2 and 0"
        )
    labels = torch.randint(len(kinds), (count,), generator=generator)
    offsets = torch.rand(count, 3, generator=generator)
    ys, xs = (2 * line / diameter - 2 for line in _grid(2 * diameter))
    masks = []
    for label, (y, x, spin) in zip(labels, offsets.tolist(), strict=True):
        v, u = ys + 0.5 - y, xs + 0.5 - x
        angle = torch.atan2(v, u) + 2 * math.pi * spin
        masks.append(_inside(kinds[label], torch.hypot(u, v), angle))
    pictures = torch.stack(masks)[:, None].float()
    draw = torch.randn(pictures.shape, generator=generator)
    return pictures + noise * draw, labels


# A mark is this many standard deviations of the photograph above or below
# its mean: far outside what the photographs hold.
MARK = 20.0


def _inside(shape: str, radius: Tensor, angle: Tensor) -> Tensor:
    """Pixels inside a shape of circumradius 1, from polar coordinates."""
    if shape == "disk":
        return radius <= 1
    if shape == "ring":
        return (radius <= 1) & (radius >= 0.5)
    corners = {"square": 4, "triangle": 3, "star": 5}[shape]
    # Fold the angle so that one corner lies at 0 and its neighbour (or, for
    # the star, the notch between them) at the end of the half sector.
    half = math.pi / corners
    fold = (angle.remainder(2 * half) - half).abs()
    fold = half - fold
    if shape == "star":
        notch = 0.45
        side = torch.sin(half - fold) * notch + torch.sin(fold)
        return radius * side <= notch * math.sin(half)
    return radius * torch.cos(half - fold) <= math.cos(half)


def _texture(size: int, split: str, generator: Generator) -> Tensor:
    name = _integer(0, len(TEXTURES) - 1, generator)
    return _crop(textures(split)[name], size, generator)


def _crop(texture: Tensor, size: int, generator: Generator) -> Tensor:
    """A square of a texture at a random place."""
    top, left = (_integer(0, s - size, generator) for s in texture.shape)
    return texture[top : top + size, left : left + size]


def _integer(low: int, high: int, generator: Generator) -> int:
    """A random integer, both ends included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _grid(size: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(size)
    return line[:, None], line[None, :]


def _empty(count: int, size: int) -> tuple[Tensor, Tensor]:
    labels = torch.zeros(count, size, size, dtype=torch.long)
    return torch.zeros(count, 3, size, size), labels


def _check_kinds(kinds: Sequence[str]) -> None:
    if not kinds or set(kinds) - set(SHAPES):
        raise ValueError(f"kinds={tuple(kinds)}: must be some of {SHAPES}")


def _check(count: int, size: int, name: str, ends: tuple[int, int]) -> None:
    if count < 1:
        raise ValueError(f"count={count}: must be at least 1")
    largest = min(min(t.shape) for split in SPLITS for t in textures(split))
    if not 1 <= size <= largest:
        raise ValueError(f"size={size}: must be from 1 to {largest}")
    if not 1 <= ends[0] <= ends[1]:
        raise ValueError(f"{name}={ends}: must be two rising positive numbers")
