"""Yu & Koltun 2016: the front end, then the context module on it.

Nothing is padded in these networks, so a crop brings the margin of 186
pixels a side, mirrored past the picture's border, and its labels are taken
at the centres of the remaining cells of 8 x 8 pixels. A crop of n pixels
trains (n - 372) / 8 places a side.
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
    Rule,
    Schedule,
)
from atrous.segmentation.dilationnet import MARGIN

PAPER = "Yu & Koltun, ICLR 2016, arXiv:1511.07122"
CODE = "fyu/dilation, train.py"
# Data set, classes, and mean in blue, green and red.
PLACES = {
    "voc": ("voc_aug", 21, (102.93, 111.36, 116.52)),
    "camvid": ("camvid", 11, (110.70, 108.78, 105.41)),
    "kitti": ("kitti", 11, (96.19, 95.55, 91.35)),
    "cityscapes": ("cityscapes", 19, (72.39, 82.91, 73.16)),
}
SIZES = {"camvid": (480, 640)}  # height and width; the others stay
VGG16 = Initial(
    "VGG-16 of ImageNet, its classifier made convolutions",
    part="layers",
    last="fc7",
    skip=("classifier.6.",),
)
FRONT_END = Initial("the front end, trained by its own recipe", "front_end")
CONTEXT = Initial("the network whose context module was trained alone")
SOURCES = {
    "network": "paper, sections 3 and 4",
    "network.initial": "paper",
    "data": "paper",
    "data.margin": CODE,
    "augmentations": CODE,
    "repeats": "a pass over the data is an epoch",
    "pixels": CODE,
    "optimiser": "paper",
    "optimiser.weight_decay": CODE,
    "optimiser.rules": CODE,
    "schedule": "paper; the code divides by 10 every 100,000",
    "unit": "paper",
    "last_batch": "Caffe goes round and round in its list",
    "normalisation": "there is none in these networks",
    "loss": CODE,
    "evaluation": "paper; the code takes tiles, and makes probabilities "
    "before it enlarges them",
}
# Biases learn twice as fast and do not decay.
BIASES = Rule(kind="bias", lr=2.0, weight_decay=0.0)
FROZEN = Rule("front_end.*", lr=0.0)


def _recipe(
    stage: str,
    place: str,
    network: str,
    initial: Initial,
    *,
    crop: int,
    batch: int,
    lr: float,
    length: int,
    aim: Aim,
    momentum: float = 0.9,
    rules: tuple[Rule, ...] = (BIASES,),
    crop_from: str = "paper",
    batch_from: str = "paper",
    length_from: str = "paper",
) -> Recipe:
    """A recipe of this paper; the other values are the same in all."""
    data, classes, mean = PLACES[place]
    view = Augmentation(
        size=SIZES.get(place),
        crop=(crop, crop),
        pad_picture="reflect",
        around=True,
        flip=0.5,
    )
    return Recipe(
        name=f"yu_{stage}_{place}",
        paper=PAPER,
        network=Network(network, {"num_classes": classes}, initial=initial),
        data=Data(data, margin=MARGIN),
        augmentations=(view,),
        pixels=Pixels("BGR", 255.0, mean, (1.0, 1.0, 1.0)),
        optimiser=Optimiser(
            lr, momentum=momentum, weight_decay=5e-4, rules=rules
        ),
        schedule=Schedule(),
        length=length,
        batch=batch,
        loss=Loss(places="window"),
        evaluation=Evaluation("test" if place == "camvid" else "val"),
        aims=(aim,),
        sources={
            **SOURCES,
            "augmentations.0.crop": crop_from,
            "batch": batch_from,
            "length": length_from,
        },
    )


def _front_end(place: str, **values) -> Recipe:
    return _recipe("front_end", place, "dilation_front_end", VGG16, **values)


def _urban_front_end(place: str, length: int, aim: Aim) -> Recipe:
    """The front end of a data set of streets; they differ in length."""
    return _front_end(
        place,
        crop=628,
        batch=8,
        lr=1e-4,
        momentum=0.99,
        length=length,
        aim=aim,
    )


JOINT = "of the joint network"
CAMVID = Aim(65.3, f"mean IoU on CamVid test, {JOINT}", "paper, Table 5")
KITTI = Aim(59.2, f"mean IoU on KITTI, {JOINT}", "paper, Table 6")
STREETS = Aim(68.7, f"mean IoU on Cityscapes val, {JOINT}", "paper, Table 7")
ALL = (
    # The learning rate is the paper's; that of the code and its manual is
    # 1e-4. With COCO's pictures too: 100K at 1e-3 and 40K at 1e-4, then 50K
    # at 1e-5 on VOC alone.
    _front_end(
        "voc",
        crop=500,
        crop_from=CODE,
        batch=14,
        lr=1e-3,
        length=60_000,
        aim=Aim(67.6, "mean IoU on VOC test", "paper, Table 2"),
    ),
    _recipe(
        "context",
        "voc",
        "dilation8_voc",
        FRONT_END,
        crop=500,
        crop_from=CODE,
        batch=60,
        lr=1e-3,
        length=60_000,
        rules=(BIASES, FROZEN),
        aim=Aim(
            72.1,
            "mean IoU on VOC val, on a front end that COCO brought to 69.8",
            "paper, Table 3",
        ),
        batch_from=CODE,
        length_from="not stated; as the front end's",
    ),
    _urban_front_end("camvid", 20_000, CAMVID),
    _recipe(
        "joint",
        "camvid",
        "dilation8_camvid",
        FRONT_END,
        crop=852,
        batch=1,
        lr=1e-5,
        length=20_000,
        aim=CAMVID,
        length_from="not stated; as KITTI's",
    ),
    _urban_front_end("kitti", 10_000, KITTI),
    _recipe(
        "joint",
        "kitti",
        "dilation7_kitti",
        FRONT_END,
        crop=900,
        batch=1,
        lr=1e-5,
        momentum=0.99,
        length=20_000,
        aim=KITTI,
    ),
    _urban_front_end("cityscapes", 40_000, STREETS),
    _recipe(
        "context",
        "cityscapes",
        "dilation10_cityscapes",
        FRONT_END,
        crop=1396,
        batch=100,
        lr=1e-4,
        momentum=0.99,
        length=24_000,
        rules=(BIASES, FROZEN),
        aim=STREETS,
        crop_from="not stated; as the joint training's",
    ),
    # A crop is half a picture.
    _recipe(
        "joint",
        "cityscapes",
        "dilation10_cityscapes",
        CONTEXT,
        crop=1396,
        batch=1,
        lr=1e-5,
        length=60_000,
        aim=STREETS,
    ),
)
