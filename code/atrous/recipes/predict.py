"""The command `predict`: what a trained network sees in photographs."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from atrous.datasets.camvid import CamVid
from atrous.datasets.cityscapes import Cityscapes
from atrous.datasets.kitti import KITTI
from atrous.datasets.pairs import colourise, read_rgb, voc_colour_map
from atrous.datasets.voc import PascalVOC
from atrous.recipes.evaluate import label_map
from atrous.recipes.files import need_file, need_folder, png, write_whole
from atrous.recipes.inference import picture_scores, pixel_scores
from atrous.recipes.processes import joined
from atrous.recipes.recipe import Recipe
from atrous.recipes.settings import takes_changes
from atrous.recipes.trained import trained

HELP = "label photographs, or find their edges"
DESCRIPTION = """Write, for each photograph, the photograph tinted by class
with a legend, and the label map; or a map of edges. Without weights HED finds
edges, with those that come with a package."""
READERS = {  # who names and colours the classes
    "voc": PascalVOC,
    "voc_aug": PascalVOC,
    "sbd": PascalVOC,
    "cityscapes": Cityscapes,
    "camvid": CamVid,
    "kitti": KITTI,
}
TINT = 0.6  # share of the class's colour over the photograph


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.description = DESCRIPTION
    add = parser.add_argument
    add("photos", nargs="+", type=Path, metavar="PHOTO")
    add("--weights", type=Path, help="a saved state, or a released file")
    add("--recipe", help="of the network; a saved state has its own")
    add("--out", type=Path, default=Path(), help="folder (default: this one)")
    takes_changes(parser)


def run(given: argparse.Namespace) -> None:
    """Write the pictures.

    Raises:
        ValueError: If a photograph is none, or weights do not fit.
        FileNotFoundError: If a file is missing.
        OSError: If a picture cannot be written; one of its name stays.
    """
    stems = [photo.stem for photo in given.photos]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(
            f"photos: several are called {twice[0]!r}, and would be written "
            "over one another; run them one by one with another --out"
        )
    for photo in given.photos:
        need_file("photo", photo)
    need_folder("out", given.out)
    with joined() as process:
        network, recipe = trained(
            given.recipe,
            given.weights,
            changes=given.set,
            device=process.device,
        )
        for photo in given.photos:
            pixels = read_rgb(photo)
            picture = torch.from_numpy(pixels).permute(2, 0, 1) / 255
            if recipe.loss.kind == "edges":
                shares = pixel_scores(
                    network, recipe, picture.to(process.device)
                )
                grey = (255 * shares).round().byte().cpu().numpy()
                made = {"edges": Image.fromarray(grey)}
            elif recipe.evaluation.metric == "top-1 error":
                scores = picture_scores(
                    network, recipe, picture.to(process.device)
                )
                share, label = scores.softmax(0).max(0)
                sys.stdout.write(
                    f"{photo}: class {label.item()}, {share.item():.3f}\n"
                )
                continue
            else:
                names, colours = classes(recipe, network.num_classes)
                labels = label_map(network, recipe, picture, len(names))
                made = {
                    "overlay": overlay(pixels, labels.numpy(), names, colours),
                    "labels": indexed(labels.numpy(), colours),
                }
            for kind, image in made.items():
                file = given.out / f"{photo.stem}_{kind}.png"
                write_whole(file, png(image))
                sys.stdout.write(f"{photo}: {file}\n")


def classes(recipe: Recipe, count: int) -> tuple[list[str], np.ndarray]:
    """Names and colours, uint8 (n, 3), of the classes a network answers.

    Args:
        recipe: Its data set names them; numbers do where that is a folder.
        count: Classes of the network.
    """
    if recipe.data.name in READERS:
        reader = READERS[recipe.data.name]
        known = min(count, len(reader.classes))
        colours = np.asarray(reader.colours, np.uint8)[:known]
        return list(reader.classes[:known]), colours
    kept = count - (recipe.data.void is not None)
    return [f"class {i}" for i in range(kept)], voc_colour_map(kept)


def overlay(
    pixels: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    colours: np.ndarray,
) -> Image.Image:
    """A photograph tinted by class, and a legend of those that occur.

    Args:
        pixels: uint8 (H, W, 3).
        labels: (H, W).
        names: Of the classes.
        colours: Theirs, uint8 (n, 3).
    """
    painted = colourise(labels, colours)
    tinted = (1 - TINT) * pixels + TINT * painted
    picture = Image.fromarray(tinted.round().astype(np.uint8))
    found, share = np.unique(labels, return_counts=True)
    order = found[np.argsort(-share)]
    line = max(14, round(picture.width / 40))
    font = ImageFont.load_default(size=line * 0.75)
    places, x, y = [], 0, 0
    for label in order:
        width = round(font.getlength(names[label])) + 2 * line
        if x and x + width > picture.width:
            x, y = 0, y + line
        places.append((label, x, y))
        x += width
    whole = Image.new(
        "RGB", (picture.width, picture.height + y + line), "white"
    )
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for label, x, y in places:
        top = picture.height + y + line * 0.15
        box = (x + line * 0.25, top, x + line, top + line * 0.7)
        pen.rectangle(box, fill=tuple(colours[label].tolist()))
        pen.text((x + line * 1.2, top), names[label], "black", font)
    return whole


def indexed(labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """A label map whose pixels are the labels, and its palette the colours."""
    image = Image.fromarray(labels.astype(np.uint8), "P")
    image.putpalette(colours.ravel().tolist())
    return image
