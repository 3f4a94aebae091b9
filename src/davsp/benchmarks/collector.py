"""Collecting a benchmark's queries: what is added, what is dropped and why, and the images that are there or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from davsp.data.query import Query, check_question
from davsp.errors import InputError

TEXT_ONLY_SIDE = 336
"""Side in pixels of the white image that goes with a prompt that is published without one."""
_LFS_POINTER = b"version https://git-lfs"


@dataclass
class QueryCollector:
    """Queries in the order in which they are added, and one line for each that is left out."""

    queries: list[Query] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(
        self,
        identifier: str,
        image: Path | bytes | Image.Image,
        question: str,
        *,
        malicious: bool,
        group: str,
        answer: str | None = None,
        **metadata: str,
    ) -> None:
        """Add a query, or say why it is dropped. A further query of the same id gets a number: `id#2`."""
        problem = image_problem(image)
        if problem is None and not isinstance(question, str):
            problem = f"the question is {question!r}, which is no text"
        if problem is None:
            try:
                check_question(question, identifier)
            except InputError as error:
                problem = str(error).removeprefix(f"{identifier}: ")
        if problem is not None:
            self.drop(identifier, problem)
            return
        unique, number = identifier, 2
        while unique in self._ids:
            unique, number = f"{identifier}#{number}", number + 1
        self._ids.add(unique)
        self.queries.append(Query(unique, image, question, answer, malicious, group, metadata))

    def drop(self, identifier: str, why: str) -> None:
        """Leave a published query out."""
        self.dropped.append(f"{identifier}: {why}")


def image_problem(image: object) -> str | None:
    """What is wrong with an image: none at all, or a file that is absent, empty, or the pointer to one that was not
    downloaded."""
    if not image or not isinstance(image, Path):
        return None if image and isinstance(image, bytes | Image.Image) else "there is no image"
    if not image.is_file():
        return f"no image {image}"
    with image.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
    if not start:
        return f"image {image} is empty"
    return f"image {image} is a Git LFS pointer: run `git lfs pull` there" if start == _LFS_POINTER else None


@cache
def white_image() -> Image.Image:
    """The plain white image that goes with a prompt that is published without one."""
    return Image.new("RGB", (TEXT_ONLY_SIDE, TEXT_ONLY_SIDE), "white")


def request_with_image(question: str, description: str | None) -> dict[str, str]:
    """Metadata with what a judge reads as the request, where the published words say what is in the image."""
    return {"request": f"{question}\n[The image shows: {description}]"} if description else {}
