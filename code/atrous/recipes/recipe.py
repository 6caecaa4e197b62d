"""A paper's experiment as data: all that is needed to run it, and its source.

A `Recipe` is a tree of frozen dataclasses whose leaves are numbers, words and
tuples of these. It goes to JSON and comes back equal, and a value in it is
named by its path: `optimiser.lr`.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from torch import Tensor

from atrous.datasets.augment import Augmentation
from atrous.recipes.bounds import check
from atrous.recipes.plain_data import leaves, made, plain

READ_BY = (  # a part, its kind, and what no other kind reads
    ("optimiser", "sgd", ("momentum", "nesterov")),
    ("optimiser", "adam", ("betas",)),
    ("schedule", "poly", ("power",)),
    ("schedule", "step", ("factor", "at")),
    ("loss", "cross_entropy", ("places", "mean", "class_weights")),
    ("loss", "edges", ("eta", "doubtful", "negative", "side", "fusion")),
)


@dataclass(frozen=True)
class Initial:
    """Weights that a network starts from, in a file that the reader names.

    Attributes:
        what: The weights in words, such as "ResNet-101 of ImageNet".
        part: Path of the module that they fill; "" for the whole network.
        last: Name of its last child that they fill; "" for all.
        skip: As in `atrous.convert.checkpoints.load_checkpoint`.
    """

    what: str
    part: str = ""
    last: str = ""
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A network of `atrous.zoo` and where its weights come from.

    Attributes:
        name: As `atrous.zoo.build` takes it.
        options: What else `build` takes.
        scales: Sizes of the picture that go through it, fused by
            `atrous.segmentation.base.MultiScale`; (1,) for it alone.
        initial: None for fresh weights.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    scales: tuple[float, ...] = (1.0,)
    initial: Initial | None = None


@dataclass(frozen=True)
class Data:
    """Which pictures a network learns from.

    Attributes:
        name: As `atrous.datasets.catalogue.open_split` takes it.
        split: Likewise.
        void: The class that pixels without a label are trained as; None
            leaves them out.
        margin: Pixels that are mirrored past each border before anything is
            cropped, without a label.
    """

    name: str
    split: str = "train"
    void: int | None = None
    margin: int = 0


@dataclass(frozen=True)
class Pixels:
    """What a network is given for a picture in 0..1: (scale v - mean) / std.

    Attributes:
        order: "RGB" or "BGR".
        scale: 1, or 255 where mean and std are in grey levels.
        mean: Of each channel, in that order.
        std: Likewise.
    """

    order: str = "RGB"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (..., 3, H, W), red, green, blue in 0..1, as they go in."""
        mean = pictures.new_tensor(self.mean)[:, None, None]
        std = pictures.new_tensor(self.std)[:, None, None]
        if self.order == "BGR":
            pictures = pictures.flip(-3)
        return (self.scale * pictures - mean) / std

    def colour(self) -> tuple[float, ...]:
        """The colour that becomes 0: red, green and blue in 0..1."""
        colour = tuple(round(value / self.scale, 9) for value in self.mean)
        return colour[:: -1 if self.order == "BGR" else 1]


@dataclass(frozen=True)
class Rule:
    """What is different for some of a network's parameters.

    Attributes:
        names: Pattern of their names, as in `fnmatch`.
        kind: "" for all, "bias", or "norm" for those of normalisation.
        lr: Factor of the learning rate; 0 freezes them.
        weight_decay: Factor of the weight decay.
    """

    names: str = "*"
    kind: str = ""
    lr: float = 1.0
    weight_decay: float = 1.0


@dataclass(frozen=True)
class Optimiser:
    """SGD with momentum, or Adam.

    Attributes:
        kind: "sgd" or "adam".
        lr: Learning rate before any factor.
        momentum: Of SGD.
        nesterov: Whether SGD's momentum is Nesterov's.
        betas: Of Adam.
        weight_decay: Share of the weights that is added to their gradients.
        rules: All that fit a parameter apply; their factors multiply.
        clip: Largest size of an element of the gradient; None for any.
    """

    lr: float
    kind: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    rules: tuple[Rule, ...] = ()
    clip: float | None = None


@dataclass(frozen=True)
class Schedule:
    """How the learning rate falls; times are in the recipe's unit.

    Attributes:
        kind: "constant"; "poly", (1 - t / length)^power; "step", times
            `factor` at each of `at` and after each `every`.
        power: Of "poly".
        factor: Of "step".
        at: Times of single steps.
        every: Of "poly" the time between two changes, of "step" between two
            regular steps; 0 for none.
    """

    kind: str = "constant"
    power: float = 0.9
    factor: float = 0.1
    at: tuple[int, ...] = ()
    every: int = 0


@dataclass(frozen=True)
class Loss:
    """What is minimised; see `atrous.recipes.objectives`.

    Attributes:
        kind: "cross_entropy" or "edges".
        places: Where logits meet labels: "pixels" brings the logits to the
            picture, "logits" the labels to the logits; "window" takes the
            labels at the centres of a network without padding; "scales"
            supervises each scale of a multi-scale network, and their fusion.
        mean: Whether the loss is a mean over the labelled pixels of the
            batch; otherwise their sum, a mean over pictures.
        class_weights: c of the weights 1 / ln(c + share of the class), 0 for
            no weights.
        eta: Of edges: as in `atrous.edges.losses`.
        doubtful: Of edges: whether pixels between 0 and eta are left out;
            otherwise they are no edges.
        negative: Of edges: as in `atrous.edges.losses`.
        side: Likewise.
        fusion: Likewise.
    """

    kind: str = "cross_entropy"
    places: str = "pixels"
    mean: bool = True
    class_weights: float = 0.0
    eta: float = 0.5
    doubtful: bool = True
    negative: float = 1.0
    side: float = 1.0
    fusion: float = 1.0


@dataclass(frozen=True)
class Evaluation:
    """How the published result was measured.

    Attributes:
        split: Of the data set.
        metric: "mean IoU", "top-1 error" or "ODS".
        scales: Sizes of the picture whose predictions are fused.
        flip: Whether the mirrored picture is among them.
        fusion: Mean of "probabilities", of "log probabilities", of "logits",
            or "maximum" of logits.
        options: Options of the network that are others than in training.
        tile: Side of overlapping tiles; 0 for whole pictures.
        resize: Length that the shorter side is brought to; 0 keeps it.
        crop: Side of the square in the centre that is judged; 0 for all.
    """

    split: str = "val"
    metric: str = "mean IoU"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    fusion: str = "probabilities"
    options: Mapping[str, Any] = field(default_factory=dict)
    tile: int = 0
    resize: int = 0
    crop: int = 0


@dataclass(frozen=True)
class Aim:
    """A published result.

    Attributes:
        value: The number, as it is printed.
        what: What was measured, on which pictures, under which test.
        source: Where it stands.
    """

    value: float
    what: str
    source: str


@dataclass(frozen=True)
class Recipe:
    """An experiment: what is trained on what, how, and what came of it.

    Attributes:
        name: Its name, unique in the book.
        paper: Authors, venue, year.
        augmentations: How pictures are shown; an epoch is a pass over the
            data under each, one after another. With none they are shown as
            they are.
        repeats: How often an epoch does that.
        length: Training time in `unit`s, "iterations" or "epochs".
        batch: Pictures per step, on all devices together.
        last_batch: What becomes of pictures that fill no batch: "wrap" puts
            those of the next epoch beside them, "keep" takes them alone.
        normalisation: "batch" normalises by the statistics of the batch,
            over all devices; "frozen" by those that came with the weights,
            and trains neither scale nor shift.
        aims: What the paper got.
        sources: From beginnings of paths to where their values come from;
            the longest one that fits a path counts, and "" fits all.

    Raises:
        ValueError: If a number is too small or a word unknown.
    """

    name: str
    paper: str
    network: Network
    data: Data
    augmentations: tuple[Augmentation, ...]
    pixels: Pixels
    optimiser: Optimiser
    schedule: Schedule
    length: int
    batch: int
    aims: tuple[Aim, ...]
    sources: Mapping[str, str]
    repeats: int = 1
    unit: str = "iterations"
    last_batch: str = "wrap"
    normalisation: str = "batch"
    loss: Loss = field(default_factory=Loss)
    evaluation: Evaluation = field(default_factory=Evaluation)

    def __post_init__(self):
        check(dict(leaves(plain(self))))

    def to_json(self) -> str:
        """The recipe as JSON; `from_json` reads it."""
        return json.dumps(plain(self), indent=2) + "\n"

    def source(self, path: str) -> str:
        """Where the value at a path comes from; "" if nothing says."""
        fitting = [
            p for p in self.sources if not p or f"{path}.".startswith(f"{p}.")
        ]
        return self.sources[max(fitting, key=len)] if fitting else ""

    def values(self) -> list[tuple[str, Any]]:
        """Path and value of everything that is run, as plain data."""
        about = ("name", "paper", "aims", "sources")
        return [
            (path, value)
            for path, value in leaves(plain(self))
            if path.partition(".")[0] not in about
        ]

    def _idle(self, path: str) -> bool:
        """Whether no code reads the value at a path, as the recipe is."""
        for part, kind, names in READ_BY:
            if path in (f"{part}.{name}" for name in names):
                return getattr(self, part).kind != kind
        if ".aspect." not in path:
            return False
        return not self.augmentations[int(path.split(".")[1])].area

    def _usual(self, path: str) -> Any:
        """What stands at a path where a recipe says nothing; else None."""
        *names, last = path.split(".")
        part = self
        for name in names:
            tuples = isinstance(part, tuple)
            part = part[int(name)] if tuples else getattr(part, name)
        if isinstance(part, Mapping):
            return None
        usual = {f.name: f.default for f in fields(part)}[last]
        return None if usual is MISSING else usual

    def table(self) -> str:
        """The recipe in lines: path, value, source; then what it aims at.

        Left out is what is switched off (null, false, 0 and empty), unless
        it is usually on, and what another kind of optimiser, schedule or loss
        would read.
        """
        rows = [
            (path, json.dumps(value), self.source(path))
            for path, value in self.values()
            if (value or self._usual(path)) and not self._idle(path)
        ]
        wide, wider = (max(len(row[i]) for row in rows) for i in (0, 1))
        lines = [
            f"{path:{wide}}  {value:{wider}}  {source}".rstrip()
            for path, value, source in rows
        ]
        lines += [
            f"aims at {aim.value} {aim.what} ({aim.source})"
            for aim in self.aims
        ]
        return "\n".join([f"{self.name}: {self.paper}", *lines])


def from_json(text: str) -> Recipe:
    """The recipe that `Recipe.to_json` wrote.

    Raises:
        ValueError: If it is no JSON, or a value is missing, unknown or of
            another type; names its path.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"text: is no JSON: {error}") from error
    return made(Recipe, data)
