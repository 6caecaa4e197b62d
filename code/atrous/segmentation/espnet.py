"""ESPNet: a pyramid of dilated convolutions that is summed step by step.

The unit reduces, splits into branches of growing rates, and merges them; the
sums of its hierarchical feature fusion are what attenuates the gridding. The
networks are the encoder alone and the encoder with a light decoder.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from atrous.arithmetic import check_positive
from atrous.ops.upsampling import cut
from atrous.segmentation.base import Segmenter, check_pictures

RATES = (1, 2, 4, 8, 16)
EPS = 1e-3  # of every batch normalisation. Source: the authors' Model.py.


def dilated3x3(channels: int, width: int, *, dilation: int) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size."""
    return nn.Conv2d(
        channels, width, 3, padding=dilation, dilation=dilation, bias=False
    )


def norm_prelu(channels: int) -> nn.Sequential:
    """Batch normalisation, then a PReLU with a slope a channel."""
    return nn.Sequential(nn.BatchNorm2d(channels, eps=EPS), nn.PReLU(channels))


class ESP(nn.Module):
    """Efficient spatial pyramid: (B, C, H, W) to (B, C', H', W').

    Reduce to n = floor(C' / branches) channels, by a 1x1 convolution or at a
    stride by a 3x3; split into one branch a rate; fuse; concatenate. At
    stride 1 and C' = C the input is added. Then BN and PReLU.

    Fusion replaces each branch by the sum of those up to it. The first one,
    of rate 1, is in no sum.

    Args:
        channels: Input channels C.
        width: Output channels C'. The first branch gets what n leaves over.
        stride: Of the reduction; H' = ceil(H / stride).
        rates: Dilations of the branches.
        fusion: Whether branches are summed. Without it the unit has the same
            weights and the gridding of its largest rate.
        branch: Makes a branch from n, its width and its dilation.

    Raises:
        ValueError: If `stride` or a rate is below 1, or `width` is less
            than the number of branches.

    Source:
        Mehta et al., ECCV 2018; the authors' Model.py.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        stride: int = 1,
        rates: Sequence[int] = RATES,
        fusion: bool = True,
        branch: Callable[..., nn.Module] = dilated3x3,
    ):
        super().__init__()
        check_positive(stride=stride)
        if not rates or min(rates) < 1:
            raise ValueError(f"rates={rates}: each must be at least 1")
        if width < len(rates):
            raise ValueError(
                f"width={width}: must be at least {len(rates)}, one channel "
                "a branch"
            )
        n, left = divmod(width, len(rates))
        kernel = 1 if stride == 1 else 3
        self.reduce = nn.Conv2d(
            channels, n, kernel, stride, kernel // 2, bias=False
        )
        widths = (n + left, *[n] * (len(rates) - 1))
        self.branches = nn.ModuleList(
            branch(n, own, dilation=rate)
            for own, rate in zip(widths, rates, strict=True)
        )
        self.norm = norm_prelu(width)
        self.fusion = fusion
        self.residual = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        """The unit's output, (B, C', H', W')."""
        reduced = self.reduce(x)
        first, *maps = [branch(reduced) for branch in self.branches]
        if self.fusion:
            maps = itertools.accumulate(maps)
        y = torch.cat([first, *maps], 1)
        return self.norm(y + x if self.residual else y)


class ESPNetC(Segmenter):
    """ESPNet without its decoder: (B, 3, H, W) to logits (B, C, H, W).

    Its output stride is 8. The picture itself, averaged down, joins levels 1
    and 2.

    Args:
        num_classes: Classes C, at least 1.
        p: Units of level 2 after the one that halves the map, at least 1.
        q: The same of level 3.
        pool: Halves the picture; 3x3 averages if None.
        align_corners: Whether the upsampling aligns corners.
        unit: What else `ESP` takes: `rates`, `fusion`, `branch`.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Mehta et al., ECCV 2018: ESPNet-C; the authors' Model.py.
    """

    def __init__(
        self,
        *,
        num_classes: int = 20,
        p: int = 2,
        q: int = 8,
        pool: nn.Module | None = None,
        align_corners: bool = False,
        **unit,
    ):
        super().__init__(
            num_classes=num_classes,
            output_stride=8,
            align_corners=align_corners,
        )
        check_positive(p=p, q=q)
        esp = partial(ESP, **unit)
        self.pool = nn.AvgPool2d(3, 2, 1) if pool is None else pool
        self.level1 = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), norm_prelu(16)
        )
        self.norm1 = norm_prelu(16 + 3)
        self.down2 = esp(16 + 3, 64, stride=2)
        self.level2 = nn.Sequential(*(esp(64, 64) for _ in range(p)))
        self.norm2 = norm_prelu(2 * 64 + 3)
        self.down3 = esp(2 * 64 + 3, 128, stride=2)
        self.level3 = nn.Sequential(*(esp(128, 128) for _ in range(q)))
        self.norm3 = norm_prelu(2 * 128)
        self.score = nn.Conv2d(2 * 128, num_classes, 1, bias=False)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Maps "stem", "level1" to "level3": 16, 19, 131 and 256 channels.

        At strides 2, 2, 4 and 8, each side rounded up.
        """
        maps, picture = {"stem": self.level1(x)}, self.pool(x)
        y = torch.cat([maps["stem"], picture], 1)
        maps["level1"] = self.norm1(y)
        down = self.down2(maps["level1"])
        y = torch.cat([self.level2(down), down, self.pool(picture)], 1)
        maps["level2"] = self.norm2(y)
        down = self.down3(maps["level2"])
        y = torch.cat([down, self.level3(down)], 1)
        maps["level3"] = self.norm3(y)
        return maps

    def logits(self, x: Tensor) -> Tensor:
        """Logits at stride 8, (B, C, ceil(H / 8), ceil(W / 8))."""
        check_pictures(x)
        return self.score(self.features(x)["level3"])


# The early map that the decoder of each variant reads, and its channels.
EARLY = {"train": ("level1", 16 + 3), "test": ("stem", 16)}


class ESPNet(Segmenter):
    """ESPNet with its light decoder: (B, 3, H, W) to logits (B, C, H, W).

    The decoder works on C channels and doubles the map three times by
    learned upsampling, meeting level 2 and level 1 on the way. It ends at
    output stride 1.

    Args:
        num_classes: Classes C, at least as many as a unit has branches.
        variant: "train", as the authors' training code has it, or "test",
            where the last 3x3 convolution reads the stem without a second
            copy of the picture: 16 + C channels in place of 19 + C. The
            released CamVid file is of the first form, the Cityscapes files
            (q = 3, 5, 8) of the second.
        options: As in `ESPNetC`.

    Raises:
        ValueError: If a number is out of range.

    Source:
        Mehta et al., ECCV 2018; the authors' train/Model.py and
        test/Model.py.
        Departs: that code needs sides that are multiples of 8; here each
        doubled map is cut to the map that it meets.
    """

    def __init__(
        self, *, num_classes: int = 20, variant: str = "train", **options
    ):
        super().__init__(num_classes=num_classes, output_stride=1)
        if variant not in EARLY:
            raise ValueError(f"variant={variant!r}: must be one of {[*EARLY]}")
        self.early, channels = EARLY[variant]
        self.encoder = ESPNetC(num_classes=num_classes, **options)
        branches = len(self.encoder.down2.branches)
        if num_classes < branches:
            raise ValueError(
                f"num_classes={num_classes}: must be at least {branches}, "
                "one channel a branch of the decoder's unit"
            )
        unit = {
            k: v for k, v in options.items() if k not in ("p", "q", "pool")
        }
        # Released weights come in this order, which is not that of the calls.
        self.project = nn.Conv2d(2 * 64 + 3, num_classes, 1, bias=False)
        self.norm = nn.BatchNorm2d(num_classes, eps=EPS)
        self.merge1 = nn.Sequential(
            nn.Conv2d(
                channels + num_classes, num_classes, 3, 1, 1, bias=False
            ),
            norm_prelu(num_classes),
        )
        self.up3 = doubling(num_classes)
        self.merge2 = nn.Sequential(
            norm_prelu(2 * num_classes),
            ESP(2 * num_classes, num_classes, **unit),
        )
        self.up2 = nn.Sequential(
            doubling(num_classes), norm_prelu(num_classes)
        )
        self.up1 = doubling(num_classes)

    def logits(self, x: Tensor) -> Tensor:
        """Logits at stride 1, (B, C, H, W)."""
        check_pictures(x)
        maps = self.encoder.features(x)
        y = self.norm(self.encoder.score(maps["level3"]))
        side = self.project(maps["level2"])
        y = cut(self.up3(y), side.shape[2:])
        y = self.merge2(torch.cat([side, y], 1))
        side = maps[self.early]
        y = cut(self.up2(y), side.shape[2:])
        y = self.merge1(torch.cat([y, side], 1))
        return cut(self.up1(y), x.shape[2:])


def doubling(channels: int) -> nn.ConvTranspose2d:
    """Learned upsampling by 2: each place becomes 2 x 2, none overlap."""
    return nn.ConvTranspose2d(channels, channels, 2, 2, bias=False)
