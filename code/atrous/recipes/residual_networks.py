"""Dilated residual networks, and ResNet-101 with hybrid rates and DUC."""

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
    Schedule,
)

DRN = "Yu, Koltun & Funkhouser, CVPR 2017"
CODE = "fyu/drn, classify.py and segment.py"
README = "fyu/drn, README"
# Top-1 error on ImageNet val, in per cent.
CLASSIFIERS = {
    "drn_a_18": 28.0,
    "drn_a_34": 24.8,
    "drn_a_50": 22.9,
    "drn_c_26": 24.9,
    "drn_c_42": 22.9,
    "drn_c_58": 21.7,
    "drn_d_22": 25.8,
    "drn_d_38": 23.8,
    "drn_d_54": 21.2,
    "drn_d_105": 20.6,
}


def _classifier(name: str, error: float) -> Recipe:
    """A DRN on ImageNet; they differ in the network only."""
    options = {"num_classes": 1000}
    if name == "drn_c_58":  # whose released form has weights it never uses
        options["dead_projection"] = False
    view = Augmentation(area=Uniform(0.08, 1.0), crop=(224, 224), flip=0.5)
    return Recipe(
        name=f"{name}_imagenet",
        paper=DRN,
        network=Network(name, options),
        data=Data("imagenet"),
        augmentations=(view,),
        pixels=Pixels(),
        optimiser=Optimiser(0.1, weight_decay=1e-4),
        schedule=Schedule("step", every=30),
        length=120,
        unit="epochs",
        batch=256,
        last_batch="keep",
        evaluation=Evaluation(metric="top-1 error", resize=256, crop=224),
        aims=(Aim(error, "per cent top-1 error on ImageNet val", README),),
        sources={
            "": CODE,
            "pixels": "torchvision's; not stated",
            "last_batch": "not stated; no picture is left out",
            "normalisation": "over the whole batch; in the code over each "
            "GPU's part",
        },
    )


def _streets(name: str, *, view: Augmentation, aims, **values) -> Recipe:
    """A DRN on Cityscapes, from its own weights of ImageNet."""
    initial = Initial(f"{name} of ImageNet", "backbone", skip=("fc.",))
    return Recipe(
        name=f"{name}_cityscapes",
        paper=DRN,
        # The transposed upsampling, whose border fades, is the code's.
        network=Network(
            f"{name}_seg",
            {"num_classes": 19, "upsampling": "transposed"},
            initial=initial,
        ),
        data=Data("cityscapes"),
        augmentations=(view,),
        pixels=Pixels(
            mean=(0.2901, 0.3281, 0.2870), std=(0.1830, 0.1866, 0.1845)
        ),
        optimiser=Optimiser(0.01, weight_decay=1e-4),
        unit="epochs",
        evaluation=Evaluation(fusion="log probabilities"),
        aims=aims,
        sources={
            "": CODE,
            "last_batch": "not stated; no picture is left out",
            "normalisation": CODE
            if name == "drn_d_105"
            else "over the whole batch; in the code over each GPU's part",
        },
        **values,
    )


def _view(crop: int, **more) -> Augmentation:
    return Augmentation(
        crop=(crop, crop),
        pad_picture="reflect",
        around=True,
        flip=0.5,
        **more,
    )


D_22 = _streets(
    "drn_d_22",
    view=_view(896),
    # The manual has another form, too: 0.001 at a momentum of 0.99.
    schedule=Schedule("step", every=100),
    length=250,
    batch=32,
    aims=(Aim(68.0, "mean IoU on Cityscapes val", README),),
)
D_105 = _streets(
    "drn_d_105",
    view=_view(840, scales=Uniform(0.5, 2.0), rotation=10),
    schedule=Schedule("poly"),
    length=500,
    batch=16,
    aims=(
        Aim(75.6, "mean IoU on Cityscapes val", README),
        Aim(76.3, "mean IoU on Cityscapes test, several scales", README),
    ),
)

HYBRID = "Wang et al., WACV 2018, arXiv:1702.08502"
TUSIMPLE = "TuSimple-DUC"
RGB = Pixels()
HDC_DUC = Recipe(
    name="hdc_duc_resnet101_cityscapes",
    paper=HYBRID,
    # Cells of 4 x 4: the labels are at half the size, as in the code.
    network=Network(
        "hdc_duc_resnet101",
        {"num_classes": 19, "upscale": 4},
        initial=Initial(
            "ResNet-101 of ImageNet, its stem three 3x3 convolutions",
            "backbone",
            skip=("fc.",),
        ),
    ),
    data=Data("cityscapes"),
    # Twelve patches of each picture are an epoch; seven, around fixed
    # centres, in the code.
    augmentations=(
        Augmentation(
            scales=steps(0.5, 1.5, 0.25),
            crop=(800, 800),
            pad_picture=RGB.colour(),
            flip=0.5,
        ),
    ),
    repeats=12,
    pixels=RGB,
    optimiser=Optimiser(1e-4, weight_decay=5e-5, clip=5.0),
    schedule=Schedule("step", factor=0.5, every=5),
    length=30,
    unit="epochs",
    batch=1,
    last_batch="keep",
    normalisation="frozen",
    loss=Loss(places="logits"),
    aims=(
        Aim(79.1, "mean IoU on Cityscapes test", f"{TUSIMPLE}, README"),
        Aim(80.1, "the same, several scales", f"{TUSIMPLE}, README"),
    ),
    sources={
        "": TUSIMPLE,
        "repeats": "paper, at third hand",
        "pixels": "torchvision's; not stated",
        "length": f"{TUSIMPLE}, its epochs 20 to 50",
        "last_batch": "a batch is one patch",
    },
)
ALL = (
    *(_classifier(name, error) for name, error in CLASSIFIERS.items()),
    D_22,
    D_105,
    HDC_DUC,
)
