"""Size, rotation and margins of a picture and its label map, together.

A picture is a float (C, H, W), a label map (..., H, W) of any type. Pixels are
squares: both are resized and rotated about the same centres, so they agree to
the pixel. A picture is interpolated and a label never is.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# What stands beyond the border of a picture: a colour, in 0..1, or "reflect".
Fill = tuple[float, ...] | str


def resize_picture(
    picture: Tensor, size: tuple[int, int], *, antialias: bool = True
) -> Tensor:
    """Picture (C, H, W) in another size, bilinear."""
    return F.interpolate(
        picture[None], size=size, mode="bilinear", antialias=antialias
    )[0]


def resize_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (..., H, W) in another size, each from the nearest pixel.

    The centre of output pixel i lies at (i + 1/2) H / h of the input, as in
    `resize_picture`; whole numbers keep it exact.
    """
    rows, columns = (
        (2 * torch.arange(new) + 1) * old // (2 * new)
        for old, new in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[..., rows[:, None], columns]


def rotation_grid(
    size: tuple[int, int], degrees: float, out: tuple[int, int]
) -> Tensor:
    """Where each pixel of a rotated picture comes from, float32 (h, w, 2).

    Args:
        size: Height and width of the picture.
        degrees: Counter-clockwise, about the centre.
        out: Height and width of what is seen, with the same centre.

    Returns:
        Row and column in the picture, in pixels, 0 at the first one's centre.
    """
    angle = math.radians(degrees)
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in out)
    rows = math.sin(angle) * x, math.cos(angle) * y + (size[0] - 1) / 2
    columns = math.cos(angle) * x, (size[1] - 1) / 2 - math.sin(angle) * y
    return torch.stack(
        [
            along.float() + down.float()[:, None]
            for along, down in (rows, columns)
        ],
        -1,
    )


def sample_picture(picture: Tensor, grid: Tensor, fill: Fill) -> Tensor:
    """Picture (C, H, W) at the places of a grid (h, w, 2), bilinear.

    Args:
        picture: (C, H, W).
        grid: As `rotation_grid` gives.
        fill: Colour beyond the border, or "reflect".
    """
    size = picture.shape[-2:]
    reflect = fill == "reflect"
    if reflect:
        lines = zip(grid.unbind(-1), size, strict=True)
        grid = torch.stack([mirror(line, n) for line, n in lines], -1)
    # grid_sample wants x before y, and -1 and 1 at the border of the picture,
    # half a pixel beyond the outermost centres.
    places = (2 * grid + 1) / torch.tensor(size) - 1
    colour = 0 if reflect else picture.new_tensor(fill)[:, None, None]
    sampled = F.grid_sample(
        (picture - colour)[None],
        places.flip(-1).to(picture.dtype)[None],
        mode="bilinear",
        padding_mode="border" if reflect else "zeros",
        align_corners=False,
    )
    return sampled[0] + colour


def mirror(places: Tensor, size: int) -> Tensor:
    """Places on a line of pixels, mirrored about the outermost as needed."""
    period = max(1, 2 * (size - 1))
    places = places % period
    return torch.minimum(places, period - places).clamp(max=size - 1)


def sample_labels(labels: Tensor, grid: Tensor, fill: int) -> Tensor:
    """Labels (..., H, W) at the places of a grid, each from the nearest."""
    height, width = labels.shape[-2:]
    rows, columns = grid.round().long().unbind(-1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = labels[..., rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
    return torch.where(inside, found, labels.new_tensor(fill))


def pad_to(
    x: Tensor, size: tuple[int, int], fill: Fill | int, *, around: bool = False
) -> Tensor:
    """Fill (..., H, W) up to a size where it is smaller.

    Args:
        x: A picture (C, H, W) or labels (..., H, W).
        size: At least this height and width.
        fill: Colour of C values, one number, or "reflect", which does not
            repeat the border pixel and goes on if it must.
        around: Half of it on the left and above; else all on the right and
            below.
    """
    missing = [max(0, n - m) for n, m in zip(size, x.shape[-2:], strict=True)]
    if not any(missing):
        return x
    top, left = (n // 2 if around else 0 for n in missing)
    height, width = (m + n for m, n in zip(x.shape[-2:], missing, strict=True))
    if fill == "reflect":
        rows = mirror(torch.arange(height) - top, x.shape[-2])
        columns = mirror(torch.arange(width) - left, x.shape[-1])
        return x[..., rows[:, None], columns]
    colour = x.new_tensor(fill)[..., None, None]
    padded = colour.expand(*x.shape[:-2], height, width).clone()
    padded[..., top : top + x.shape[-2], left : left + x.shape[-1]] = x
    return padded


def largest_rectangle(
    size: tuple[int, int], degrees: float
) -> tuple[int, int]:
    """Height and width of the largest upright rectangle in a rotated picture.

    In a long picture two of its corners lie on the long sides and two are
    free, which leaves the largest of a family. Else all four lie on the
    border, one on each side, which makes two linear equations.
    """
    height, width = size
    angle = math.radians(degrees)
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    double = cosine**2 - sine**2
    if abs(double) < 1e-9 or min(size) <= 2 * sine * cosine * max(size):
        half = min(size) / 2
        sides = half / cosine, half / sine
        h, w = sides if width >= height else sides[::-1]
    else:
        h = (height * cosine - width * sine) / double
        w = (width * cosine - height * sine) / double
    # A whole side stays whole although its sine is not exactly 0.
    return max(1, math.floor(h + 1e-6)), max(1, math.floor(w + 1e-6))
