"""ESPNet: the encoder first, at an eighth of the size, then the whole.

An epoch is five passes over the data, each at a size of its own. Pixels
without a label are trained as a class of their own.
"""

from atrous.datasets.augment import Augmentation
from atrous.recipes.recipe import (
    Aim,
    Data,
    Evaluation,
    Initial,
    Loss,
    Network,
    Optimiser,
    Pixels,
    Recipe,
    Schedule,
)

PAPER = "Mehta et al., ECCV 2018, arXiv:1803.06815"
CODE = "sacmehta/ESPNet, its training code"
README = "sacmehta/ESPNet, README"
# Height and width of each pass, and up to how many pixels are trimmed.
PASSES = (
    ((768, 1536), 100),
    ((720, 1280), 100),
    ((256, 512), 0),
    ((384, 768), 32),
    ((512, 1024), 32),
)
ENCODER = Initial("the encoder, trained by its own recipe", "encoder")


def _pixels(mean: tuple, std: tuple) -> Pixels:
    """(v - mean) / std / 255 of grey levels v, in blue, green and red."""
    return Pixels("BGR", 255.0, mean, tuple(round(255 * s, 4) for s in std))


def _view(size: tuple[int, int], trim: int) -> Augmentation:
    # The code mirrors pictures upside down: cv2.flip along axis 0.
    return Augmentation(size=size, trim=trim, flip_vertical=0.5)


# Of the training pictures; those of Cityscapes are in fyu/drn, too.
STREETS = _pixels((73.185, 83.666, 73.976), (47.048, 47.583, 46.665))
ROADS = _pixels((109.98, 108.19, 104.80), (78.03, 79.14, 78.08))


def _recipe(
    name: str,
    network: str,
    *,
    place: str,
    classes: int,
    pixels: Pixels,
    views: tuple[Augmentation, ...],
    batch: int,
    aim: Aim,
    split: str,
    sources: dict[str, str],
) -> Recipe:
    """A recipe of this paper; the other values are the same in all."""
    whole = network == "espnet"
    return Recipe(
        name=name,
        paper=PAPER,
        network=Network(
            network,
            {"num_classes": classes, "p": 2, "q": 8},
            initial=ENCODER if whole else None,
        ),
        data=Data(place, void=classes - 1),
        augmentations=views,
        pixels=pixels,
        optimiser=Optimiser(5e-4, kind="adam", weight_decay=5e-4),
        schedule=Schedule("step", factor=0.5, every=100),
        length=300,
        unit="epochs",
        batch=batch,
        last_batch="keep",
        loss=Loss(places="pixels" if whole else "logits", class_weights=1.1),
        evaluation=Evaluation(split),
        aims=(aim,),
        sources={
            "": CODE,
            "last_batch": "not stated; no picture is left out",
            **sources,
        },
    )


CITYSCAPES = {
    "place": "cityscapes",
    "classes": 20,
    "pixels": STREETS,
    "views": tuple(_view(*values) for values in PASSES),
    "aim": Aim(60.3, "mean IoU on Cityscapes test, decoded", README),
    "split": "val",  # the labels of test are with its server
    "sources": {"pixels": f"{CODE}; the numbers: fyu/drn"},
}
SAME = "not stated; as on Cityscapes"
CAMVID = {
    "place": "camvid",
    "classes": 12,
    "pixels": ROADS,
    "views": (_view((360, 480), 0),),
    "aim": Aim(55.64, "mean IoU on CamVid test, decoded", README),
    "split": "test",
    "sources": {
        "pixels": f"{CODE}; the numbers: of the training pictures",
        "augmentations": "not stated; the pictures' size, and no trimming",
        **dict.fromkeys(("optimiser", "schedule", "length", "batch"), SAME),
    },
}
ALL = (
    _recipe("espnet_c_cityscapes", "espnet_c", batch=12, **CITYSCAPES),
    _recipe("espnet_cityscapes", "espnet", batch=6, **CITYSCAPES),
    _recipe("espnet_c_camvid", "espnet_c", batch=12, **CAMVID),
    _recipe("espnet_camvid", "espnet", batch=6, **CAMVID),
)
