"""Real processes: a stub server that looks at what it is sent, and `davsp serve` before it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from davsp.imaging.opening import png_bytes

PREFIX = "be careful ."
PHOTO = Image.effect_noise((64, 48), 60).convert("RGB")
OTHER = Image.new("RGB", (30, 40), (200, 30, 30))


def data_uri(image: Image.Image, kind: str = "png") -> str:
    """An image as clients send it."""
    if kind == "png":
        content = png_bytes(image)
    else:
        stream = io.BytesIO()
        image.save(stream, kind)
        content = stream.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def chat(*contents: Any, model: str = "small", **fields: Any) -> dict[str, Any]:
    """A request of one user message: texts and images, in this order."""
    parts = [
        {"type": "image_url", "image_url": {"url": data_uri(one) if isinstance(one, Image.Image) else one[4:]}}
        if isinstance(one, Image.Image) or one.startswith("url:")
        else {"type": "text", "text": one}
        for one in contents
    ]
    return {"model": model, "messages": [{"role": "user", "content": parts}], **fields}


def error_of(reply: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = reply.json()["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


class Stub:
    """A stub server that runs."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}/v1"
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    @property
    def counts(self) -> dict[str, int]:
        found: dict[str, int] = self._client.get("/counts").json()
        return {"defended": 0, "undefended": 0, "text": 0, "left": 0} | found

    @property
    def asked(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.get("/asked").json()
        return found

    @property
    def last(self) -> dict[str, Any]:
        return self.asked[-1]


@contextmanager
def stub_server(border: Path | None = None, delay: float = 0.0) -> Iterator[Stub]:
    """A stub server, in a process of its own."""
    command = [sys.executable, "-m", "bench.stub_upstream", "--delay", str(delay)]
    process = subprocess.Popen(command + (["--border", str(border)] if border else []), stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield Stub(int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


class Proxy:
    """A `davsp serve` that runs. `logs` has the lines of its log as they come."""

    def __init__(self, upstream: str | None, *arguments: object) -> None:
        command = [sys.executable, "-m", "davsp", "serve", "--port", "0", *map(str, arguments)]
        command += ["--upstream", upstream] if upstream else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.logs: list[dict[str, Any]] = []
        self.said = ""
        assert self.process.stdout is not None and self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line
            if found := re.search(r" at (http://[\d.]+:\d+)/v1", line):
                break
        else:
            raise AssertionError(f"davsp serve did not start: {self.said}")
        self.root = found[1]
        self.address = f"{self.root}/v1"
        self.client = httpx.Client(base_url=self.address, trust_env=False, timeout=60)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_started(self) -> None:
        self.wait_for("Application startup complete.", 120)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.logs.append(json.loads(line))

    def wait_for(self, event: str, seconds: float = 30, **fields: Any) -> dict[str, Any]:
        """The first line of the log with this event and these fields."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in list(self.logs):
                if line["event"] == event and line.items() >= fields.items():
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no {event} {fields} in {self.logs}")

    def post(self, body: Any, path: str = "/chat/completions", **headers: str) -> httpx.Response:
        return self.client.post(path, json=body, headers=headers)

    def metric(self, name: str, **labels: str) -> float:
        """A sample of /metrics; 0.0 for one that there is not."""
        text = httpx.get(f"{self.root}/metrics", trust_env=False).text
        total = 0.0
        for line in text.splitlines():
            if re.match(rf"{name}(\{{|\s)", line) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total

    def hang_up(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)

    def end(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(40)
        self._reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def serving(upstream: str | None, *arguments: object) -> Iterator[Proxy]:
    """`davsp serve` before a server, with further arguments."""
    proxy = Proxy(upstream, *arguments)
    try:
        proxy.wait_until_started()
        yield proxy
    finally:
        proxy.end()
