"""A hub on this machine with one dataset that can be read and written."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Hub:
    """The commits of ``me/rows``: by commit, the files with their bytes."""

    def __init__(self):
        self.commits = {"c" * 39 + "0": {"README.md": b"# rows\n"}}
        self.before_commit = []  # called, one each, before a commit is looked at
        self.tokens = []
        self.failures = []  # statuses of the next answers

    @property
    def head(self):
        """The last commit."""
        return list(self.commits)[-1]

    @property
    def files(self):
        """The files of the last commit."""
        return self.commits[self.head]

    def commit(self, files):
        """Make the next commit."""
        self.commits["c" * 38 + f"{len(self.commits):02}"] = files


def git_name(data):
    """The name that git has for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content_Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def say(self, value):
        self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def described(self, path, data):
        return {"type": "file", "path": path, "size": len(data), "oid": git_name(data)}

    def handled(self, body):
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        found = re.fullmatch(
            r"(?:/api)?/datasets/me/rows(?:/(resolve|tree|revision|paths-info|preupload|commit)/([^/]+)(?:/(.*))?)?",
            path,
        )
        if not found:
            self.answer(404, b"{}", X_Error_Code="RepoNotFound")
            return
        # Of these alone: the client also asks for things of its own, once for each process.
        if hub.failures:
            self.answer(hub.failures.pop(0))
            return
        hub.tokens.append(self.headers.get("Authorization"))
        kind, revision, name = found.groups()
        commit = hub.head if revision in (None, "main") else revision
        if commit not in hub.commits:
            self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
            return
        files = hub.commits[commit]
        if kind in (None, "revision"):
            self.say({"id": "me/rows", "sha": commit, "private": False, "gated": False, "disabled": False,
                      "downloads": 0, "likes": 0, "tags": [], "siblings": []})  # fmt: skip
        elif kind == "resolve":
            self.file(files, commit, name)
        elif kind == "tree":
            inside = [each for each in files if not name or each.startswith(f"{name}/")]
            if inside:
                self.say([self.described(each, files[each]) for each in inside])
            else:
                self.answer(404, b"{}", X_Error_Code="EntryNotFound")
        elif kind == "paths-info":
            asked = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
            self.say([self.described(each, files[each]) for each in asked if each in files])
        elif kind == "preupload":
            asked = json.loads(body)["files"]
            self.say(
                {
                    "files": [
                        {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for each in asked
                    ]
                }
            )
        else:
            self.commit(hub, body)

    def file(self, files, commit, name):
        if name not in files:
            self.answer(404, b"", X_Error_Code="EntryNotFound")
            return
        data = files[name]
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        if first >= len(data):
            self.answer(416)
            return
        piece = data[first : last + 1]
        where = f"bytes {first}-{first + len(piece) - 1}/{len(data)}"
        self.answer(206, piece, ETag=f'"{git_name(data)}"', X_Repo_Commit=commit, Content_Range=where)

    def commit(self, hub, body):
        if hub.before_commit:
            hub.before_commit.pop(0)()
        lines = [json.loads(line) for line in body.splitlines()]
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, hub.head):
            self.answer(412, json.dumps({"error": "A commit has happened since"}).encode())
            return
        files = dict(hub.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files.pop(value["path"])
        hub.commit(files)
        self.say(
            {
                "commitUrl": "https://huggingface.co/datasets/me/rows/commit/1",
                "commitOid": hub.head,
                "success": True,
            }
        )

    def do_GET(self):
        self.handled(b"")

    def do_POST(self):
        self.handled(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    do_HEAD = do_GET


@contextmanager
def serving_hub():
    """Serve a hub, and yield it and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
