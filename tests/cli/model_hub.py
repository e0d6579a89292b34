"""A stand-in for the Hugging Face hub with repositories of models on 127.0.0.1: pushes and fetches by the real client."""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
import urllib.parse
from dataclasses import dataclass, field
from hashlib import sha256

TOKEN = "hf_standInSecretToken"
Files = dict[str, bytes]


@dataclass
class ModelHub:
    """What the server has.

    Attributes:
        commits: repository -> its commits in order, each (commit, files); the last one is `main`.
        private: repositories that only the token may read.
        stored: SHA-256 -> bytes that were uploaded.
        served: method and path of every request.
        size: path -> a size to announce instead of the true one.
    """

    commits: dict[str, list[tuple[str, Files]]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    stored: dict[str, bytes] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    size: dict[str, int] = field(default_factory=dict)

    def put(self, repository: str, files: Files) -> str:
        """Add a commit and return its name."""
        commits = self.commits.setdefault(repository, [])
        commits.append((sha256(f"{repository}{len(commits)}".encode()).hexdigest()[:40], files))
        return commits[-1][0]

    def at(self, repository: str, revision: str = "main") -> tuple[str, Files] | None:
        """Return commit and files of a revision."""
        commits = self.commits.get(repository, [])
        return next((each for each in reversed(commits) if revision in ("main", each[0])), None)


class Server:
    """The running server; `address` is its URL."""

    def __init__(self, hub: ModelHub) -> None:
        handler = type("Handler", (_Handler,), {"hub": hub})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ModelHub

    def log_message(self, *unused):
        return

    def do_GET(self):
        self.read()

    def do_HEAD(self):
        self.read()

    def do_PUT(self):
        self.hub.stored[self.path.rpartition("/")[2]] = self.body()
        self.json({})

    def do_POST(self):
        self.hub.served.append(f"POST {self.path}")
        body = self.body()
        if not self.trusted():
            self.json({"error": "Invalid credentials in Authorization header"}, 401)
        elif self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            modes = {True: "lfs", False: "regular"}
            files = [file["path"] for file in json.loads(body)["files"]]
            large = (".safetensors", ".onnx", ".pt2")
            self.json(
                {"files": [{"path": p, "uploadMode": modes[p.endswith(large)], "shouldIgnore": False} for p in files]}
            )
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self.json({"objects": [self.place(each) for each in json.loads(body)["objects"]]})
        elif "/commit/" in self.path:
            self.commit(re.match(r"/api/models/(.*)/commit/", self.path)[1], body)
        else:
            self.json({"error": "no such address"}, 404)

    def create(self, asked):
        name = f"{asked['organization']}/{asked['name']}"
        exists = name in self.hub.commits
        if not exists:
            self.hub.put(name, {".gitattributes": b""})
            self.hub.private |= {name} if asked.get("visibility") == "private" else set()
        self.json({"url": f"http://{self.headers['Host']}/{name}"}, 409 if exists else 200)

    def place(self, asked):
        upload = {"href": f"http://{self.headers['Host']}/lfs/{asked['oid']}"}
        return {**asked, "actions": {"upload": upload}}

    def commit(self, name, body):
        files = dict(self.hub.at(name)[1])
        for line in filter(None, body.split(b"\n")):
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.hub.put(name, files)
        self.json({"commitUrl": f"http://{self.headers['Host']}/{name}/commit/{commit}", "commitOid": commit})

    def read(self):
        self.hub.served.append(f"{self.command} {self.path}")
        path = urllib.parse.unquote(self.path)
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^?]+))?(?:\?.*)?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name = (about or file)[1] if about or file else ""
        if name not in self.hub.commits or (name in self.hub.private and not self.trusted()):
            self.json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return
        found = self.hub.at(name, (about or file)[2] or "main")
        if found is None:
            self.json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
        elif about:
            files = [{"rfilename": each} for each in found[1]]
            self.json({"id": name, "sha": found[0], "siblings": files, "private": name in self.hub.private, "tags": []})
        elif file[3] not in found[1]:
            self.json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            self.deliver(file[3], *found)

    def deliver(self, path, commit, files):
        data, size = files[path], self.hub.size.get(path, len(files[path]))
        digest = sha256(data).hexdigest()
        self.send_response(200)
        for key, value in (("ETag", f'"{digest}"'), ("X-Linked-Etag", f'"{digest}"'), ("X-Linked-Size", str(size))):
            self.send_header(key, value)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def trusted(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def json(self, content, status=200, more=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        for key, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(more or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
