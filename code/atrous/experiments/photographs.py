"""The real photographs of the book, which come with scikit-image.

Left halves make training sets, right halves test sets, so that no pixel is
in both.
"""

import functools

import skimage.data
import torch
from skimage.util import img_as_float32
from torch import Tensor

TEXTURES = (
    "brick",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "page",
    "coins",
)
SPLITS = ("train", "test")


def photograph(name: str) -> Tensor:
    """A photograph of scikit-image, (1, 3, H, W) in 0..1.

    Of a stereo pair it is the left one.

    Raises:
        ValueError: If scikit-image has no picture of that name.
    """
    if name not in skimage.data.__all__:
        raise ValueError(f"name={name!r}: not a picture of skimage.data")
    pixels = getattr(skimage.data, name)()
    if isinstance(pixels, tuple):
        pixels = pixels[0]
    pixels = img_as_float32(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, axis=2)
    return torch.from_numpy(pixels[..., :3]).permute(2, 0, 1)[None].clone()


@functools.cache
def textures(split: str) -> tuple[Tensor, ...]:
    """The left or right halves of the eight texture photographs, (H, W).

    Grey, with mean 0 and standard deviation 1 each, so that neither colour
    nor brightness tells a texture.

    Raises:
        ValueError: If `split` is neither "train" nor "test".
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: must be one of {SPLITS}")
    halves = []
    for name in TEXTURES:
        grey = photograph(name)[0].mean(0)
        middle = grey.shape[1] // 2
        half = grey[:, :middle] if split == "train" else grey[:, middle:]
        halves.append((half - half.mean()) / half.std())
    return tuple(halves)
