"""Samples that worker processes lay out, brought to the device."""

from __future__ import annotations

import multiprocessing
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from davsp.testbed.smol.pretraining.laying import FAILED, Materials, lay_out

PATIENCE = 180
"""Seconds after which nothing is expected of workers any more that have not yet laid out a sample."""
WAITING = 200
"""Samples that wait in a queue at most."""


@dataclass(frozen=True)
class Sample:
    """Arrays of a sample of a stage, on the device and, as they came, on the host."""

    stage: int
    tensors: dict[str, Tensor]
    arrays: dict[str, np.ndarray]


class Supply:
    """Samples of the stage that is on: fresh ones first, and earlier ones again where there are none."""

    def __init__(self, device: torch.device, kept: int, seed: int) -> None:
        self._device, self._kept_at_most = device, kept
        self._rng = random.Random(seed)  # noqa: S311 - a choice of samples, no secret
        self._context = multiprocessing.get_context("spawn")
        self._stage = self._context.Value("i", 0)
        self._sent: Any = self._context.Queue()
        self._done: Any = self._context.Queue(maxsize=WAITING)
        self._workers: list[Any] = []
        self._fresh: deque[Sample] = deque()
        self._kept: list[Sample] = []
        self._failure = ""
        self._closed = False
        self.laid_out = 0
        self.taken = 0

    def start(self, materials: Materials, count: int, seed: int) -> None:
        """Start `count` workers. Materials go through a queue, so that no worker is waited for until it reads them."""
        for number in range(count):
            self._sent.put(materials)
            arguments = (self._sent, seed * 1000 + number, self._stage, self._done)
            worker = self._context.Process(target=lay_out, args=arguments, daemon=True)
            worker.start()
            self._workers.append(worker)
        threading.Thread(target=self._bring, daemon=True).start()

    def switch(self, stage: int) -> None:
        """Go on with samples of another stage."""
        self._stage.value = stage
        self._fresh, self._kept = deque(), []
        self.laid_out = self.taken = 0

    def take(self) -> Sample:
        """A sample, at once unless none is there yet. Raises RuntimeError where the workers have failed."""
        until = time.monotonic() + PATIENCE
        while not (self._has_fresh() or self._kept):
            if self._failure or time.monotonic() > until or not any(worker.is_alive() for worker in self._workers):
                raise RuntimeError(f"no samples are laid out any more. {self._failure}")
            time.sleep(0.02)
        self.taken += 1
        if not self._has_fresh():
            return self._rng.choice(self._kept)
        sample = self._fresh.popleft()
        self._kept.append(sample)
        if len(self._kept) > self._kept_at_most:
            self._kept.pop(self._rng.randrange(len(self._kept)))
        return sample

    def _has_fresh(self) -> bool:
        while self._fresh and self._fresh[0].stage != self._stage.value:
            self._fresh.popleft()  # it arrived as the stage ended that it is of
        return bool(self._fresh)

    def close(self) -> None:
        self._closed = True
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(timeout=5)

    def _bring(self) -> None:
        """Bring what the workers put into the queue to the device, as long as it is wanted."""
        try:
            self._bring_all()
        except Exception as error:  # who waits for samples must hear of it
            self._failure = f"{type(error).__name__}: {error}"

    def _bring_all(self) -> None:
        while not self._closed:
            if len(self._fresh) >= self._kept_at_most:
                time.sleep(0.02)
                continue
            try:
                stage, arrays = self._done.get(timeout=0.5)
            except (queue.Empty, EOFError, OSError):
                continue
            if stage == FAILED:
                self._failure = str(arrays)
            elif stage == self._stage.value:
                tensors = {name: on_device(array, self._device) for name, array in arrays.items()}
                self._fresh.append(Sample(stage, tensors, arrays))
                self.laid_out += 1


def on_device(array: np.ndarray, device: torch.device) -> Tensor:
    """An array as a tensor on a device, for which no one waits."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@contextmanager
def supplied(device: torch.device, kept: int, seed: int) -> Iterator[Supply]:
    """A supply, whose workers end with the block."""
    supply = Supply(device, kept, seed)
    try:
        yield supply
    finally:
        supply.close()
