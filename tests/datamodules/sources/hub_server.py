"""A stand-in for the Hugging Face hub on 127.0.0.1, spoken to by the real client; it can misbehave on demand."""

from __future__ import annotations

import http.server
import json
import re
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from hashlib import sha256


@dataclass
class Hub:
    """What the server has and how it behaves.

    Attributes:
        files: path -> bytes.
        commit: the commit of `main`.
        announced: path -> (size, sha256) where they differ from the bytes.
        cut: fraction of the bytes after which the first transfer breaks off.
        status: answer everything with this status.
        page: deliver an HTML page instead of files.
        stall: seconds to wait in the middle of a transfer.
        wrong: how many transfers deliver other bytes of the right size.
        served: (method, path, range) of every request.
    """

    files: dict[str, bytes]
    commit: str = "c" * 40
    announced: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: float | None = None
    status: int | None = None
    page: bool = False
    stall: float = 0.0
    wrong: int = 0
    served: list[tuple[str, str, str | None]] = field(default_factory=list)

    def facts(self, path: str) -> tuple[int, str]:
        data = self.files[path]
        return self.announced.get(path, (len(data), sha256(data).hexdigest()))

    def transfers(self) -> int:
        return sum(method == "GET" and "/resolve/" in path for method, path, _ in self.served)


def serve(hub: Hub) -> http.server.ThreadingHTTPServer:
    """Start the server; its address is `http://127.0.0.1:<server_port>`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *unused):
            return

        def do_GET(self):
            self.answer(body=True)

        def do_HEAD(self):
            self.answer(body=False)

        def do_POST(self):
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            hub.served.append(("POST", self.path, None))
            if hub.status:
                self.empty(hub.status)
                return
            found = []
            for path in form["paths"]:
                if path in hub.files:
                    size, digest = hub.facts(path)
                    lfs = {"oid": digest, "size": size, "pointerSize": 130}
                    found.append({"type": "file", "path": path, "oid": "0" * 40, "size": size, "lfs": lfs})
            self.json(found)

        def answer(self, body):
            hub.served.append((self.command, self.path, self.headers.get("Range")))
            if hub.status:
                self.empty(hub.status)
                return
            if "/api/datasets/" in self.path:
                self.json(
                    {
                        "id": "x",
                        "sha": hub.commit,
                        "siblings": [],
                        "private": False,
                        "disabled": False,
                        "downloads": 0,
                        "likes": 0,
                        "tags": [],
                        "gated": False,
                    }
                )
                return
            path = urllib.parse.unquote(re.sub(r".*/resolve/[^/]+/", "", self.path))
            if path in hub.files:
                self.file(path, body)
            else:
                self.empty(404)

        def file(self, path, body):
            data = hub.files[path]
            size, digest = hub.facts(path)
            if hub.page:
                data = b"<html>come back later</html>"
            elif hub.wrong and body:
                hub.wrong -= 1
                data = bytes(len(data))
            start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1]) if "Range" in self.headers else 0
            rest = data[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("ETag", f'"{digest}"')
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(size))
            self.send_header("X-Repo-Commit", hub.commit)
            self.end_headers()
            if not body:
                return
            if hub.cut is not None:
                upto, hub.cut = round(len(rest) * hub.cut), None
                self.wfile.write(rest[:upto])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            if hub.stall:
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                time.sleep(hub.stall)
            self.wfile.write(rest[len(rest) // 2 if hub.stall else 0 :])

        def json(self, content):
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def empty(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
