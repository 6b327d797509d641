"""A server on this machine that stands in for the Hub: it answers as far as downloading a file needs."""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        server = self.server
        name = self.path.split("/resolve/")[-1].split("/", 1)[-1] if "/resolve/" in self.path else None
        server.asked.append((self.command, self.path, self.headers.get("Range")))
        if name not in server.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if name is not None else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        payload = server.files[name]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        revision = self.path.split("/resolve/")[-1].split("/")[0]
        self.send_header(
            "X-Repo-Commit", revision if len(revision) == 40 else "0123456789abcdef0123456789abcdef01234567"
        )
        self.send_header("ETag", f'"{server.hashes.get(name) or hashlib.sha256(payload).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(payload) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(payload) - 1}/{len(payload)}")
        self.end_headers()
        if body:
            cut = server.cuts.pop(0) if server.cuts else len(payload)
            self.wfile.write(payload[start : start + cut])
            if cut < len(payload) - start:
                self.wfile.flush()
                server.ended.wait(server.hold)
                self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def hub(files):
    """``files``: name to bytes. ``.cuts``: bytes that the next connections give before they break off, after ``.hold``
    seconds; ``.hashes``: other ones than the true ones."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.files, server.cuts, server.hashes, server.asked = dict(files), [], {}, []
    server.hold, server.ended = 0.0, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
