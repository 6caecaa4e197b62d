"""DeepLab v2, v3 and v3+."""

from dataclasses import replace

from atrous.datasets.augment import Augmentation, Uniform, steps
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

V2 = "Chen et al., TPAMI 2017, arXiv:1606.00915"
V3 = "Chen et al., 2017, arXiv:1706.05587"
V3_PLUS = "Chen et al., ECCV 2018, arXiv:1802.02611"
PORT = "kazuto1011/deeplab-pytorch"
GOOGLE = "the authors' TensorFlow code"
CAFFE = Pixels("BGR", 255.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0))
ON_VOC = "mean IoU on VOC val"
STREETS = "mean IoU on Cityscapes val"
BEST = "at output stride 8, several scales, mirrored"
TABLES = "paper, Tables 12 and 13"
TEST_SCALES = steps(0.5, 1.75, 0.25)
VGG16 = Initial(
    "VGG-16 of ImageNet", "backbone", "conv5_3", skip=("classifier.",)
)


def view(crop: int, pixels: Pixels, scales=None) -> Augmentation:
    """A crop at a random place and scale, mirrored half of the time."""
    return Augmentation(
        scales=scales,
        crop=(crop, crop),
        pad_picture=pixels.colour(),
        flip=0.5,
    )


# ---- v2

V2_SOURCES = {
    "network": "paper, sections 3 and 4.1",
    "network.initial": "paper",
    "data": "paper",
    "augmentations": PORT,
    "repeats": "a pass over the data is an epoch",
    "pixels": PORT,
    "optimiser": "paper",
    "schedule": "paper, section 4.1.2 and Table 2",
    "length": "paper, Table 2",
    "unit": "paper",
    "batch": "paper, Table 2",
    "last_batch": "Caffe goes round and round in its list",
    "normalisation": PORT,
    "loss": PORT,
    "evaluation": "paper",
}
LARGEFOV = Recipe(
    name="deeplabv2_largefov_voc",
    paper=V2,
    # The paper keeps a random 1,024 of VGG-16's 4,096 filters of fc6 and fc7;
    # here these start afresh.
    network=Network(
        "deeplabv2_vgg16_largefov", {"num_classes": 21}, initial=VGG16
    ),
    data=Data("voc_aug"),
    augmentations=(view(321, CAFFE),),
    pixels=CAFFE,
    optimiser=Optimiser(
        1e-3, weight_decay=5e-4, rules=(Rule("head.*.fc8.*", lr=10.0),)
    ),
    schedule=Schedule("poly"),
    length=20_000,
    batch=10,
    loss=Loss(places="logits"),
    aims=(Aim(65.88, f"{ON_VOC} before the CRF", "paper, Table 2"),),
    sources={
        **V2_SOURCES,
        "normalisation": "there is none in this network",
    },
)
# The rates of ASPP-L on VGG-16; trained as LargeFOV.
ASPP_L = replace(
    LARGEFOV,
    name="deeplabv2_aspp_l_voc",
    network=Network(
        "deeplabv2_vgg16_aspp_l", {"num_classes": 21}, initial=VGG16
    ),
    aims=(Aim(68.96, f"{ON_VOC} before the CRF", "paper, Table 3"),),
)
MULTI_SCALE = Recipe(
    name="deeplabv2_resnet101_msc_voc",
    paper=V2,
    network=Network(
        "deeplabv2_resnet101",
        {"num_classes": 21},
        scales=(0.5, 0.75, 1.0),
        initial=Initial("ResNet-101 of COCO, released with v2", "backbone"),
    ),
    data=Data("voc_aug"),
    augmentations=(view(321, CAFFE, steps(0.5, 1.5, 0.25)),),
    pixels=CAFFE,
    optimiser=Optimiser(
        2.5e-4,
        weight_decay=5e-4,
        rules=(
            Rule("*head.*", lr=10.0),
            Rule("*head.*", "bias", lr=2.0, weight_decay=0.0),
        ),
    ),
    schedule=Schedule("poly", every=10),
    length=20_000,
    batch=10,
    normalisation="frozen",
    loss=Loss(places="scales"),
    aims=(
        Aim(76.35, f"{ON_VOC} before the CRF", "paper, Table 4"),
        Aim(76.65, f"{ON_VOC} before the CRF", PORT),
        Aim(77.69, f"{ON_VOC} after the CRF", "paper, Table 4"),
    ),
    sources={
        **V2_SOURCES,
        "network.initial": "paper, Table 4",
        "optimiser": PORT,
        "schedule.every": PORT,
    },
)

# ---- v3

# What the weights of torchvision take; the authors' own differ.
IMAGENET = Pixels()
V3_SOURCES = {
    "network": "paper, section 3",
    "network.initial": "paper",
    "data": "paper",
    "augmentations": "paper",
    "repeats": "a pass over the data is an epoch",
    "augmentations.0.pad_picture": GOOGLE,
    "pixels": "torchvision's, as its weights take them",
    "optimiser": "paper",
    "optimiser.weight_decay": GOOGLE,
    "schedule": "paper",
    "length": "paper",
    "unit": "paper",
    "batch": "paper",
    "last_batch": "not stated; no picture is left out",
    "normalisation": "paper; over the batch of all devices",
    "loss": "paper",
    "evaluation": "paper, Table 6",
}
V3_ASPP = Recipe(
    name="deeplabv3_resnet101_voc_os16",
    paper=V3,
    # --set network.options.backbone_variant=torchvision fits the ResNet-101
    # of torchvision, whose strides and first rates lie elsewhere.
    network=Network(
        "deeplabv3_resnet101",
        {"num_classes": 21, "output_stride": 16},
        initial=Initial("ResNet-101 of ImageNet", "backbone", skip=("fc.",)),
    ),
    data=Data("voc_aug"),
    # The code's scales go in steps of 0.25.
    augmentations=(view(513, IMAGENET, Uniform(0.5, 2.0)),),
    pixels=IMAGENET,
    optimiser=Optimiser(7e-3, weight_decay=1e-4),
    schedule=Schedule("poly"),
    length=30_000,
    batch=16,
    evaluation=Evaluation(
        scales=TEST_SCALES, flip=True, options={"output_stride": 8}
    ),
    aims=(
        Aim(79.77, f"{ON_VOC} {BEST}", "paper, Table 6"),
        Aim(
            77.21, "the same at output stride 16, one scale", "paper, Table 6"
        ),
    ),
    sources=V3_SOURCES,
)
V3_FINE = replace(
    V3_ASPP,
    name="deeplabv3_resnet101_voc_os8",
    network=Network(
        "deeplabv3_resnet101",
        {"num_classes": 21, "output_stride": 8},
        initial=Initial("the network that the first stage has trained"),
    ),
    data=Data("voc", "trainval"),
    # The paper's learning rate; a comment in the code says 1e-4.
    optimiser=Optimiser(1e-3, weight_decay=1e-4),
    normalisation="frozen",
    evaluation=Evaluation("val", scales=TEST_SCALES, flip=True),
    aims=(Aim(85.7, "mean IoU on VOC test", "paper, Table 7"),),
    sources={
        **V3_SOURCES,
        "normalisation": "paper",
        "data": "paper, which also doubled the pictures of five classes for "
        "VOC test",
        "evaluation": "the labels of test are with its server; val is not "
        "that measure, for it was trained on",
    },
)
V3_CASCADE = replace(
    V3_ASPP,
    name="deeplabv3_cascade_resnet101_voc",
    network=replace(
        V3_ASPP.network,
        name="deeplabv3_cascade_resnet101",
        options={
            "num_classes": 21,
            "output_stride": 16,
            "block": 7,
            "multi_grid": [1, 2, 1],
        },
    ),
    aims=(
        Aim(79.35, f"{ON_VOC} {BEST}", "paper, Table 4"),
        Aim(
            76.66, "the same at output stride 16, one scale", "paper, Table 4"
        ),
    ),
    sources={**V3_SOURCES, "evaluation": "paper, Table 4"},
)
V3_STREETS = replace(
    V3_ASPP,
    name="deeplabv3_resnet101_cityscapes",
    network=replace(
        V3_ASPP.network, options={"num_classes": 19, "output_stride": 16}
    ),
    data=Data("cityscapes"),
    augmentations=(view(769, IMAGENET, Uniform(0.5, 2.0)),),
    length=90_000,
    evaluation=Evaluation(
        scales=(0.75, 1.0, 1.25), flip=True, options={"output_stride": 8}
    ),
    aims=(
        Aim(79.30, f"{STREETS} {BEST}", TABLES),
        Aim(
            77.23,
            "the same at output stride 16, one scale",
            "paper, Tables 12 and 13",
        ),
    ),
    sources={
        **V3_SOURCES,
        "optimiser": "paper, as on VOC",
        "evaluation": TABLES,
    },
)

# ---- v3+

V3_PLUS_SOURCES = {
    **V3_SOURCES,
    "network": "paper, section 3",
    "evaluation": "paper, Table 3",
}
PLUS_RESNET = replace(
    V3_ASPP,
    name="deeplabv3plus_resnet101_voc",
    paper=V3_PLUS,
    network=replace(V3_ASPP.network, name="deeplabv3plus_resnet101"),
    aims=(
        Aim(80.57, f"{ON_VOC} {BEST}", "paper, Table 3"),
        Aim(
            78.85, "the same at output stride 16, one scale", "paper, Table 3"
        ),
        Aim(79.35, f"{ON_VOC} at output stride 8", "paper, Table 3"),
    ),
    sources=V3_PLUS_SOURCES,
)
PLUS_XCEPTION = replace(
    PLUS_RESNET,
    name="deeplabv3plus_xception65_voc",
    network=Network(
        "deeplabv3plus_xception65",
        {"num_classes": 21, "output_stride": 16},
        initial=Initial("Xception-65 of ImageNet", "backbone"),
    ),
    optimiser=Optimiser(7e-3, weight_decay=4e-5),
    evaluation=Evaluation(),
    aims=(Aim(79.79, f"{ON_VOC} at output stride 16", "paper, Table 5"),),
    sources={
        **V3_PLUS_SOURCES,
        "pixels": "not stated; as the ResNet's",
        "evaluation": "paper, Table 5",
    },
)
ALL = (
    LARGEFOV,
    ASPP_L,
    MULTI_SCALE,
    V3_ASPP,
    V3_FINE,
    V3_CASCADE,
    V3_STREETS,
    PLUS_RESNET,
    PLUS_XCEPTION,
)
