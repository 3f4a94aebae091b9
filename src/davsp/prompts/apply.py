"""Putting a visual safety prompt on image files: one, a folder of them, or a stream."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from PIL import Image

from davsp.errors import InputError
from davsp.imaging.opening import open_image, png_bytes, was_made_by
from davsp.util.files import write_bytes
from davsp.util.progress import bar

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")


class ImagePrompt(Protocol):
    """What is applied; a VisualSafetyPrompt is one. Called from several threads at once."""

    @property
    def identity(self) -> str:
        """Which prompt it is, and for which sizes of images: what was made by another is made again."""

    def apply_to_image(self, image: Image.Image) -> Image.Image: ...


class SizeChange(NamedTuple):
    """Width and height of an image in pixels, before and after a prompt was applied."""

    before: tuple[int, int]
    after: tuple[int, int]


@dataclass(frozen=True)
class ApplySummary:
    """How many images of a folder were written, and skipped as up to date; one line for each that failed; the sizes of
    those that were written."""

    written: int
    skipped: int
    failed: tuple[str, ...]
    sizes: tuple[SizeChange, ...] = ()


def size_line(sizes: Collection[SizeChange]) -> str:
    """What was done to the sizes of one image or more, for a user."""

    def shown(found: Iterable[tuple[int, int]]) -> str:
        ordered = sorted(set(found), key=lambda size: size[0] * size[1])
        return " to ".join(f"{w} x {h}" for w, h in dict.fromkeys((ordered[0], ordered[-1])))

    before, after = (shown(change[i] for change in sizes) for i in (0, 1))
    return f"{before} pixels became {after}: the size at which the model sees an image."


def applied(prompt: ImagePrompt, source: Path | bytes, *, what: str = "standard input") -> tuple[bytes, SizeChange]:
    """The PNG file of an image with the prompt applied, and the two sizes. `what` names an image that is given as the
    bytes of its file. Raises InputError for one that is not usable."""
    image = open_image(source, what="" if isinstance(source, Path) else what)
    protected = prompt.apply_to_image(image)
    return png_bytes(protected, prompt.identity), SizeChange(image.size, protected.size)


def apply_to_stream(prompt: ImagePrompt, content: bytes, *, what: str = "standard input") -> bytes:
    """The PNG file of an image file's bytes with the prompt applied. Raises InputError, naming `what`."""
    return applied(prompt, content, what=what)[0]


def apply_to_file(prompt: ImagePrompt, source: Path | bytes, target: Path) -> SizeChange:
    """Write the image in `source`, a file or the bytes of one, with the prompt applied to `target`, a .png file other
    than `source`, and return its sizes.

    Raises InputError for an image or target that is not usable, StorageError when `target` cannot be written.
    """
    if target.suffix.lower() != ".png":
        raise InputError(f"{target}: the result is always PNG. Give an output name that ends in .png.")
    if isinstance(source, Path) and _real(target) == _real(source):
        raise InputError(f"{target} is the image itself. Give another output name.")
    content, sizes = applied(prompt, source)
    write_bytes(target, content)
    return sizes


def apply_to_folder(
    prompt: ImagePrompt,
    source: Path,
    target: Path,
    *,
    workers: int | None = None,
    overwrite: bool = False,
) -> ApplySummary:
    """Apply the prompt to every image in `source` and below, into the same tree of PNG files in `target`.

    Files are images by their suffix (SUFFIXES); hidden files are left out, and links to folders not followed.
    An image is skipped when its output is newer than it and was made by the same prompt for the same limits of pixels,
    unless `overwrite`. A bad image is reported in the summary and does not stop the others.
    On Ctrl-C the images in work are finished, and KeyboardInterrupt goes on. `workers` is the number of
    threads, by default one for each CPU.

    Raises InputError when there are no images, two of them have the same output, or `target` contains
    `source`; StorageError when `target` cannot be written.
    """
    outputs = _outputs(source, target)
    maker = prompt.identity
    todo = {s: t for s, t in outputs.items() if overwrite or not _is_current(t, s, maker)}
    failed: list[str] = []
    sizes: list[SizeChange] = []
    # Threads: Pillow decodes, resizes and encodes outside Python's lock.
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        jobs = [pool.submit(apply_to_file, prompt, s, t) for s, t in todo.items()]
        with bar("Applying", len(jobs)) as advance:
            for job in as_completed(jobs):
                try:
                    sizes.append(job.result())
                except InputError as error:
                    failed.append(str(error))
                advance(1)
    finally:
        pool.shutdown(cancel_futures=True)
    return ApplySummary(len(todo) - len(failed), len(outputs) - len(todo), tuple(sorted(failed)), tuple(sizes))


def _outputs(source: Path, target: Path) -> dict[Path, Path]:
    """The images in `source`, sorted, and the output of each."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder. Give a folder of images.")
    top = _real(target)
    if _real(source).is_relative_to(top):
        raise InputError(f"{target} contains the images of {source}. Choose another output folder.")
    images = []
    for folder, subfolders, names in os.walk(source, onerror=_stop):
        parent = Path(folder)
        subfolders[:] = [s for s in subfolders if _real(parent / s) != top]
        images += [parent / n for n in names if Path(n).suffix.lower() in SUFFIXES and not n.startswith(".")]
    if not images:
        raise InputError(f"there are no images in {source}. They are known by {', '.join(SUFFIXES)}.")
    sources: dict[Path, Path] = {}
    for image in sorted(images):
        output = (target / image.relative_to(source)).with_suffix(".png")
        if output in sources:
            raise InputError(f"{sources[output]} and {image} would both become {output}. Rename one of them.")
        sources[output] = image
    return {image: output for output, image in sources.items()}


def _is_current(output: Path, image: Path, maker: str) -> bool:
    if not (output.is_file() and image.is_file()):
        return False
    return output.stat().st_mtime > image.stat().st_mtime and was_made_by(output, maker)


def _real(path: Path) -> Path:
    """Path.resolve, which in Python 3.11 and 3.12 fails on a loop of links."""
    return Path(os.path.realpath(path))


def _stop(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}. Check its permissions.") from error
