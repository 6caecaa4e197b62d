"""A folder served on this machine alone, as a web host would serve it."""

import contextlib
import functools
import gzip
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

PACKED = {".css", ".html", ".js", ".json", ".svg", ".txt", ".xml"}


@functools.lru_cache(maxsize=256)
def packed(path: Path, changed: int) -> bytes:
    """Return a file's bytes as gzip, of the version with that mtime."""
    return gzip.compress(path.read_bytes(), compresslevel=6)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers with gzip where it pays, lets browsers keep it, is silent."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart

    def end_headers(self):
        """Say how long an answer may be kept: as long as a page is open."""
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def send_head(self):
        """Send the head of an answer and return its body as a file."""
        path = Path(self.translate_path(self.path))
        takes = "gzip" in self.headers.get("Accept-Encoding", "")
        if not (takes and path.suffix in PACKED and path.is_file()):
            return super().send_head()
        body = packed(path, path.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)

    def log_message(self, *args):
        """Print nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder while the context is open.

    Yields:
        Its address, without a slash at the end.
    """
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
