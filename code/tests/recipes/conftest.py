import pytest
from runs import Tiny, write_camvid

from atrous import zoo


@pytest.fixture
def data(tmp_path):
    """A folder of five pictures in CamVid's layout."""
    return write_camvid(tmp_path / "camvid")


@pytest.fixture
def tiny(monkeypatch):
    """A small network in the place of ESPNet."""
    monkeypatch.setitem(zoo.NETWORKS, "espnet", Tiny)
