"""HED and BDCN on the fixed views of BSDS500.

Views differ in size, so a batch is made of pictures taken one at a time,
whose gradients add up. The loss is summed over the pixels of a picture.
"""

from atrous.convert.pretrained import CAFFE_MEAN
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

VGG16 = Initial("VGG-16 of ImageNet", "backbone", skip=("classifier.",))
PIXELS = Pixels("BGR", 255.0, CAFFE_MEAN[::-1], (1.0, 1.0, 1.0))
HED_CODE = "s9xie/hed"
BDCN_CODE = "pkuCactus/BDCN, train.py and cfg.py"
# Biases learn twice as fast and do not decay.
BIASES = Rule(kind="bias", lr=2.0, weight_decay=0.0)
NO_NORMS = "there is none in this network"
HED = Recipe(
    name="hed_bsds500",
    paper="Xie & Tu, ICCV 2015, arXiv:1504.06375",
    network=Network("hed", initial=VGG16),
    data=Data("bsds500_aug"),
    # The views are the data set's own: 16 angles, 2 flips, 3 scales.
    augmentations=(),
    pixels=PIXELS,
    optimiser=Optimiser(
        1e-6,
        weight_decay=2e-4,
        rules=(
            BIASES,
            Rule("backbone.conv5_*", lr=100.0),
            Rule("sides.*", lr=0.01),
            Rule("fuse.*", lr=0.001),
        ),
    ),
    schedule=Schedule("step", every=10_000),
    length=30_000,
    batch=10,
    # At least half of the annotators make an edge, and all else is none.
    loss=Loss("edges", doubtful=False),
    evaluation=Evaluation("test", metric="ODS"),
    aims=(
        Aim(0.782, "ODS on BSDS500 test", "paper"),
        Aim(0.790, "the same, of the released network", "s9xie/hed, README"),
    ),
    sources={"": HED_CODE, "normalisation": NO_NORMS},
)
BDCN = Recipe(
    name="bdcn_bsds500",
    paper="He et al., CVPR 2019",
    network=Network("bdcn", initial=VGG16),
    data=Data("bsds500_aug"),
    augmentations=(),
    pixels=PIXELS,
    optimiser=Optimiser(
        1e-6,
        weight_decay=2e-4,
        rules=(
            Rule("backbone.conv5_*", lr=100.0),
            Rule("blocks.?.reduce.*", lr=0.1),
            Rule("blocks.?.scores.*", lr=0.01),
            Rule("fuse.*", lr=0.001),
        ),
    ),
    schedule=Schedule("step", every=10_000),
    length=40_000,
    batch=10,
    # An eta of 0.3 in the words of an author.
    loss=Loss("edges", eta=0.5, negative=1.1, side=0.5, fusion=1.1),
    evaluation=Evaluation("test", metric="ODS", scales=(0.5, 1.0, 1.5)),
    # .820 with the class boundaries of PASCAL Context mixed in.
    aims=(Aim(0.806, "ODS on BSDS500 test", "paper"),),
    sources={"": BDCN_CODE, "normalisation": NO_NORMS},
)
ALL = (HED, BDCN)
