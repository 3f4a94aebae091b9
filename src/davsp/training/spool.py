"""Arrays written once, one after the other, into a file that is mapped into memory: data sets need not fit in it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import accumulate
from math import prod
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor

from davsp.errors import StorageError


class Spool:
    """A sequence of arrays of one dtype and any shapes, kept in a temporary file (in TMPDIR) that ends with it.

    `shapes` are those of its arrays. Raises StorageError when the file cannot grow.
    """

    def __init__(self, dtype: type[np.generic]) -> None:
        self.dtype = np.dtype(dtype)
        self.shapes: list[tuple[int, ...]] = []
        self._file = TemporaryFile(prefix="davsp-")  # noqa: SIM115 - it lives as long as the spool
        self._starts: list[int] = []
        self._map: mmap.mmap | None = None

    def append(self, array: np.ndarray) -> None:
        """Add an array at the end; nothing is added any more once one was read."""
        try:
            self._file.write(np.ascontiguousarray(array, self.dtype).tobytes())
        except OSError as error:
            raise StorageError(
                f"the prepared queries cannot be stored: {error.strerror}. Set TMPDIR to a larger disk."
            ) from error
        self.shapes.append(array.shape)

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, number: int) -> Tensor:
        """A copy of array number `number`."""
        if self._map is None:
            self._file.flush()
            self._starts = [0, *accumulate(prod(shape) * self.dtype.itemsize for shape in self.shapes)]
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        shape = self.shapes[number]
        values = np.frombuffer(self._map, self.dtype, prod(shape), self._starts[number])
        return torch.from_numpy(values.reshape(shape).copy())

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return sum(map(prod, self.shapes)) * self.dtype.itemsize
