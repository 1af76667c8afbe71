"""Debian's docker-registry on a free loopback port, and pushing to it."""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.image import OCI_INDEX, BuiltImage, digest, index

PROGRAM = "docker-registry"
_CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
{auth}"""


class Registry:
    """A running registry: `host` is `127.0.0.1:<port>`."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.host = f"127.0.0.1:{port}"
        self._headers = dict(headers or {})

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.host, timeout=20)
        connection.request(method, path, body, {**self._headers, **(headers or {})})
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]  # kept: the connection closes
        connection.close()
        return response

    def push_blob(self, repository: str, data: bytes) -> None:
        started = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        target = urlsplit(started.headers["Location"])
        path = f"{target.path}?{target.query}&digest={digest(data)}"
        done = self.request("PUT", path, data, {"Content-Type": "application/octet-stream"})
        assert done.status == 201, done.status

    def push(self, repository: str, image: BuiltImage, tag: str = "latest") -> str:
        """Push an image; its reference by tag."""
        for data in image.blobs.values():
            self.push_blob(repository, data)
        self.push_manifest(repository, tag, image.raw_manifest, image.media_type)
        return f"{self.host}/{repository}:{tag}"

    def push_manifest(self, repository: str, target: str, raw: bytes, media_type: str) -> None:
        path = f"/v2/{repository}/manifests/{target}"
        done = self.request("PUT", path, raw, {"Content-Type": media_type})
        assert done.status == 201, (done.status, done.body)  # type: ignore[attr-defined]

    def push_index(
        self, repository: str, images: Sequence[BuiltImage], tag: str = "latest"
    ) -> tuple[str, dict[str, Any]]:
        """Push images under one index; its reference by tag, and the index."""
        for image in images:
            self.push(repository, image, image.digest)
        raw = index([image.described() for image in images])
        self.push_manifest(repository, tag, raw, OCI_INDEX)
        return f"{self.host}/{repository}:{tag}", json.loads(raw)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    directory: Path, htpasswd: Path | None = None, certificate: Path | None = None
) -> Iterator[Registry]:
    """Start a registry that keeps its data in `directory`; end it with the context.

    With a certificate (PEM, its key in the same file) it speaks TLS alone.
    """
    port = free_port()
    auth = f"auth: {{htpasswd: {{realm: test, path: {htpasswd}}}}}\n" if htpasswd else ""
    config = directory / "registry.yml"
    directory.mkdir(parents=True, exist_ok=True)
    tls = f", tls: {{certificate: {certificate}, key: {certificate}}}" if certificate else ""
    config.write_text(_CONFIG.format(root=directory / "data", port=port, auth=auth, tls=tls))
    process = subprocess.Popen(
        [PROGRAM, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _await_port(port, process)
        yield Registry(port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def self_signed(directory: Path) -> Path:
    """A new certificate of 127.0.0.1 and localhost, and its key, in one PEM file."""
    key, made, both = (directory / name for name in ("key.pem", "cert.pem", "both.pem"))
    names = ("-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    both.write_text(made.read_text() + key.read_text())
    return both


def _await_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{PROGRAM} ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"{PROGRAM} does not listen on port {port}")
