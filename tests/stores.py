"""S3 for tests, as moto serves it on this machine, and a server before it that fails when it is told to."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from uuid import uuid4

import pytest

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

# A process of its own: it takes no part in the tests' threads, and ends with its standard input.
_SERVER = """
import sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def serving_s3():
    """Start moto's S3 and yield its address; the process ends with the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET},
    ) as process:
        try:
            port = process.stdout.readline()
            assert port, "moto did not start"
            yield f"http://127.0.0.1:{int(port)}"
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def s3_address():
    """The address of an S3 server on this machine; tests skip where the packages for it are missing."""
    for package in ("moto", "flask", "obstore"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: `pip install 'dataprep[dev]'`")
    with serving_s3() as address:
        yield address


def s3_variables(address):
    """The environment in which commands find the server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def s3(s3_address, monkeypatch):
    """The URL of a new bucket, with the environment by which commands find it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_variables(s3_address).items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{uuid4().hex[:12]}"
    assert request(s3_address, "PUT", f"/{bucket}")[0] == 200
    return f"s3://{bucket}"


def request(address, method, path, body=None, headers=()):
    """Return status, headers and body of an answer."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        connection.close()


class Failing:
    """A server before another one, with what it does to the next requests of a method.

    ``answers`` has, by method, statuses that are given in place of an answer, and numbers of bytes, as
    ``("cut", 100)``, after which the connection ends.
    """

    def __init__(self, address):
        self.address = address
        self.answers = {}
        self.asked = []


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _any(self):
        failing = self.server.failing
        failing.asked.append((self.command, self.path, self.headers.get("Range")))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        planned = failing.answers.get(self.command) or [None]
        answer = planned.pop(0)
        if isinstance(answer, int):
            self._send(answer, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        status, headers, data = request(failing.address, self.command, self.path, body, self.headers.items())
        self._send(status, headers, data, cut=answer[1] if answer else None)

    def _send(self, status, headers, data, cut=None):
        self.send_response(status)
        # The answer to HEAD says how long the body of GET would be.
        length = dict(headers).get("Content-Length", str(len(data)))
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:cut])
        if cut is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any


@pytest.fixture
def failing(s3, s3_address, monkeypatch):  # noqa: ARG001 - it changes what `s3` sets
    """A server before ``s3`` that fails as it is told to; commands then use it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.failing = Failing(s3_address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    try:
        yield server.failing
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
