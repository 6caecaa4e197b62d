"""Files are had from a server in this process: whole, in parts, and wrong."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from atrous import zoo
from atrous.recipes.__main__ import main
from atrous.recipes.released import RELEASED, Released, released
from atrous.recipes.weights import about, get

CONTENT = bytes(range(256)) * 700
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; notes what was asked for.

    Attributes:
        ranges: Whether it knows the header Range.
        short: Bytes after which it breaks off; None for never.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges, self.short, self.asked = True, None, []

    def file(self, name="net.pth"):
        host, port = self.server_address
        return Released("hed", f"http://{host}:{port}/{name}")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        first = 0
        if wanted and self.server.ranges:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(CONTENT):
                self.send_error(416)
                return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        last = self.server.short or len(CONTENT)
        self.wfile.write(CONTENT[first:last])

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["net.pth", f"net-{DIGEST[:8]}.pth"])
def test_a_file_comes_whole(server, tmp_path, name):
    file, digest = get(server.file(name), tmp_path / "new")
    assert (file.name, digest) == (name, DIGEST)
    assert file.read_bytes() == CONTENT
    assert [*file.parent.iterdir()] == [file]
    get(server.file(name), tmp_path / "new")  # it is there
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_goes_on(server, tmp_path, ranges):
    server.short, server.ranges = 100_000, ranges
    with pytest.raises(OSError, match="broke off after 100,000 of 179,200"):
        get(server.file(), tmp_path)
    assert (tmp_path / "net.pth.part").stat().st_size == 100_000
    assert not (tmp_path / "net.pth").exists()
    server.short = None
    file, _ = get(server.file(), tmp_path)
    assert file.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"]


def test_a_part_that_is_whole_is_not_asked_for_twice(server, tmp_path):
    (tmp_path / "net.pth.part").write_bytes(CONTENT)
    file, _ = get(server.file(), tmp_path)
    assert file.read_bytes() == CONTENT


def test_a_file_that_is_not_what_its_name_says_goes(server, tmp_path):
    wrong = "0" * 8 if DIGEST[:8] != "0" * 8 else "1" * 8
    with pytest.raises(ValueError, match=f"sha256 is {DIGEST}.*{wrong}"):
        get(server.file(f"net-{wrong}.pth"), tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_server_that_is_not_there_is_named(server, tmp_path):
    server.server_close()
    server.shutdown()
    gone = server.file()
    with pytest.raises(OSError, match=r"127\.0\.0\.1.*part is kept"):
        get(gone, tmp_path)


def test_the_list_names_every_file_and_asks_no_server(capsys, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", None)
    assert main(["weights"]) == 0
    shown = capsys.readouterr().out
    for name, found in RELEASED.items():
        assert found.address in shown
        assert about(name) in shown
    assert "sha256 begins with ddedf421" in shown


@pytest.mark.parametrize("name", RELEASED)
def test_each_file_is_for_a_network(name):
    found = released(name)
    assert found.network in zoo.NETWORKS
    assert found.file
    assert found.readable == found.file.endswith(".pth")


def test_wrong_names_are_refused(capsys):
    assert main(["weights", "get", "drn_c26"]) == 1
    assert "did you mean 'drn_c_26'" in capsys.readouterr().err
    assert main(["weights", "get"]) == 1
    assert "name: must be one of" in capsys.readouterr().err
