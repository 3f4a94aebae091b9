"""What the benches of serving run and send: `davsp serve`, a bare proxy and a stub server, each a process of its own.

Everything runs on the loopback address: the proxies on one core, clients and stub on the others.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from PIL import Image, ImageFilter

from davsp.defences.stored import BaseModelFacts
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt
from davsp.imaging.canvas import FixedCanvas
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt

SIDE, BORDER = 336, 28
"""As for LLaVA-1.5."""
DELAY = 0.05
"""Seconds until the stub answers."""


def request(uri: str | None) -> bytes:
    """The body of a request with an image, or with none."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "What is in the picture?"}]
    if uri is not None:
        content.insert(0, {"type": "image_url", "image_url": {"url": uri}})
    return json.dumps({"model": "small", "messages": [{"role": "user", "content": content}]}).encode()


def photographs() -> list[bytes]:
    """Requests with a JPEG of 1024 x 768 pixels each, as large as one of a photograph."""
    rng, found = np.random.default_rng(0), []
    for _ in range(32):
        small = Image.fromarray(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8))
        photo = small.resize((1024, 768), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
        stream = io.BytesIO()
        photo.save(stream, "JPEG", quality=90)
        found.append(request(f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"))
    return found


def prompt() -> VisualSafetyPrompt:
    """A border of noise, and a prefix."""
    layout = BorderLayout(SIDE, SIDE, border=BORDER)
    pixels = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    layout.project_(pixels)
    made_for = BaseModelFacts(
        name="llava-1.5-7b",
        revision=None,
        family="llava",
        canvas=(SIDE, SIDE),
        limits=FixedCanvas(SIDE, SIDE),
        n_layers=32,
        hidden_size=4096,
        fingerprint="",
    )
    return VisualSafetyPrompt("bench", VisualPrompt(layout, pixels), "Take care.", base_model=made_for)


class Running:
    """A proxy that runs."""

    def __init__(self, address: str, process: int) -> None:
        self.address, self._process = address, psutil.Process(process)

    @property
    def memory(self) -> int:
        """MiB."""
        return int(self._process.memory_info().rss) // 2**20

    @property
    def seconds(self) -> float:
        """Of the processor, so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    @property
    def connections(self) -> int:
        return len(self._process.net_connections())


@contextmanager
def running(core: int, *command: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A Python module in a process of its own, on one core where there are several."""
    several = len(os.sched_getaffinity(0)) > 1
    cores = sorted(os.sched_getaffinity(0))[:1] if core == 0 else sorted(os.sched_getaffinity(0))[1:]
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores) if several else None,
        **options,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def stub(folder: Path) -> Iterator[tuple[Path, str]]:
    """A saved prompt, and the address of a stub server that looks for its border."""
    saved = folder / "prompt"
    prompt().save(saved)
    command = ("bench.stub_upstream", "--border", saved / "border.png", "--delay", DELAY)
    with running(1, *command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield saved, f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


@contextmanager
def ours(upstream: str, saved: Path, *options: object) -> Iterator[Running]:
    """`davsp serve` with one worker and one thread; its log goes nowhere."""
    command = ("davsp", "serve", "--upstream", upstream, "--defence", saved, "--port", 0, "--threads", 1, *options)
    with running(0, *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r" at (http://\S+)/v1", line):
                address = f"{found[1]}/v1"
                wait_for(f"{found[1]}/health")
                yield Running(address, process.pid)
                return
        raise RuntimeError("davsp serve did not start")


@contextmanager
def bare(upstream: str, saved: Path) -> Iterator[Running]:
    """The bare proxy."""
    with running(0, "bench.bare_proxy", upstream, saved, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Running(f"http://127.0.0.1:{int(process.stdout.readline())}/v1", process.pid)


def counts(upstream: str) -> Counter[str]:
    """What the stub counted."""
    return Counter(httpx.get(f"{upstream.removesuffix('/v1')}/counts", trust_env=False).json())


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(url, trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.1)
