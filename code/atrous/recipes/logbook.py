"""What a run writes while it goes: lines, curves, pictures, a progress bar."""

import contextlib
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from atrous.datasets.pairs import colourise
from atrous.recipes.files import png, unwritten, write_whole

LOG = "log.txt"
ITERATION = re.compile(r"iteration (\d+)\b")


class Logbook:
    """Writes for one process of a run; all others have a silent one.

    Lines go to log.txt and, beside a progress bar, to the terminal. What was
    written about iterations after `done`, by a run that was killed later
    than it saved its state, is taken out.

    Args:
        folder: Where to write; None for silence.
        done: Iterations that were run before.
        total: Iterations of the run.
        tensorboard: Whether curves and pictures go to TensorBoard, too.

    Raises:
        ImportError: If TensorBoard is wanted and not installed.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        done: int,
        total: int,
        tensorboard: bool = False,
    ):
        self.folder, self.file, self.curves, self.bar = (
            folder,
            None,
            None,
            None,
        )
        if folder is None:
            return
        if tensorboard:
            self.curves = _writer(folder, done)
        _forget(folder / LOG, done)
        self.file = (folder / LOG).open("a", encoding="utf-8")
        # None: where nobody looks at a terminal there is no bar.
        self.bar = tqdm(total=total, initial=done, disable=None, unit="it")

    def line(self, text: str) -> None:
        """Write a line."""
        if self.file is None:
            return
        try:
            self.file.write(f"{text}\n")
            self.file.flush()
        except OSError as error:
            raise unwritten(self.folder / LOG, error) from error
        tqdm.write(text)

    def values(self, iteration: int, **values: float) -> None:
        """Write the numbers of an iteration, counted from 1."""
        words = "  ".join(f"{name} {v:.6g}" for name, v in values.items())
        self.line(f"iteration {iteration}  {words}")
        if self.curves is not None:
            for name, value in values.items():
                self.curves.add_scalar(name, value, iteration)
            self.curves.flush()
        if self.bar is not None:
            self.bar.n = iteration
            self.bar.set_postfix_str(words)

    def picture(self, iteration: int, name: str, pixels: np.ndarray) -> None:
        """Write a picture, uint8 (H, W, 3), to samples/ITERATION_NAME.png."""
        if self.file is None:
            return
        samples = self.folder / "samples"
        samples.mkdir(exist_ok=True)
        write_whole(samples / f"{iteration:08d}_{name}.png", png(pixels))
        if self.curves is not None:
            self.curves.add_image(name, pixels, iteration, dataformats="HWC")

    def close(self) -> None:
        """Finish everything."""
        for part in (self.bar, self.file, self.curves):
            if part is not None:
                # What a full disk has refused was named when it was written.
                with contextlib.suppress(OSError):
                    part.close()


def _forget(log: Path, done: int) -> None:
    """Take out the lines of iterations that will be run again."""
    if not log.exists():
        return
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    found = [ITERATION.match(line) for line in lines]
    kept = [
        line
        for line, match in zip(lines, found, strict=True)
        if line.endswith("\n") and (not match or int(match[1]) <= done)
    ]
    if kept != lines:
        write_whole(log, "".join(kept))


def _writer(folder: Path, done: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "--tensorboard: pip install tensorboard, or leave it out"
        ) from error
    return SummaryWriter(str(folder), purge_step=done + 1)


def strip(
    picture: Tensor, labels: Tensor, logits: Tensor, colours
) -> np.ndarray:
    """A picture, its labels and the prediction side by side, uint8.

    Args:
        picture: (3, H, W) in 0..1.
        labels: Classes, int64 (H, W), or shares in 0..1, float (H, W).
        logits: Of the classes, (C, H, W), or of edges, (K, H, W), the last
            of which is the answer.
        colours: As `atrous.datasets.pairs.colourise` takes them.
    """
    shown = (255 * picture).round().byte().permute(1, 2, 0).cpu().numpy()
    if labels.is_floating_point():
        maps = labels, logits[-1].sigmoid()
        painted = [_grey(y) for y in maps]
    else:
        # A network may have more classes than there are colours.
        table = np.zeros((255, 3), np.uint8)
        table[: len(colours)] = colours
        maps = labels, logits.argmax(0)
        painted = [colourise(y.cpu().numpy(), table) for y in maps]
    return np.concatenate([shown, *painted], 1)


def _grey(shares: Tensor) -> np.ndarray:
    pixels = (255 * shares.float()).round().to(torch.uint8).cpu().numpy()
    return np.repeat(pixels[..., None], 3, 2)
