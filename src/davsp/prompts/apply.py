"""Putting a visual safety prompt on image files: one, a folder of them, or a stream."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image
from rich.console import Console
from rich.progress import track

from davsp.errors import InputError
from davsp.imaging.opening import open_image, png_bytes, was_made_by
from davsp.util.files import write_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff")


class ImagePrompt(Protocol):
    """What is applied; a VisualSafetyPrompt is one. Called from several threads at once."""

    @property
    def identity(self) -> str:
        """Which prompt it is, and for which sizes of images: what was made by another is made again."""

    def apply_to_image(self, image: Image.Image) -> Image.Image: ...


@dataclass(frozen=True)
class ApplySummary:
    """How many images of a folder were written, and skipped as up to date; one line for each that failed."""

    written: int
    skipped: int
    failed: tuple[str, ...]


def apply_to_stream(prompt: ImagePrompt, content: bytes, *, what: str = "standard input") -> bytes:
    """The PNG file of an image file's bytes with the prompt applied. Raises InputError, naming `what`."""
    return png_bytes(prompt.apply_to_image(open_image(content, what=what)), prompt.identity)


def apply_to_file(prompt: ImagePrompt, source: Path, target: Path) -> None:
    """Write the image in `source` with the prompt applied to `target`, a .png file other than `source`.

    Raises InputError for an image or target that is not usable, StorageError when `target` cannot be written.
    """
    if target.suffix.lower() != ".png":
        raise InputError(f"{target}: the result is always PNG. Give an output name that ends in .png.")
    if _real(target) == _real(source):
        raise InputError(f"{target} is the image itself. Give another output name.")
    write_bytes(target, png_bytes(prompt.apply_to_image(open_image(source)), prompt.identity))


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
    console = Console(stderr=True)
    # Threads: Pillow decodes, resizes and encodes outside Python's lock.
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        jobs = [pool.submit(apply_to_file, prompt, s, t) for s, t in todo.items()]
        for job in track(
            as_completed(jobs),
            "Applying",
            total=len(jobs),
            console=console,
            disable=not console.is_terminal,
        ):
            try:
                job.result()
            except InputError as error:
                failed.append(str(error))
    finally:
        pool.shutdown(cancel_futures=True)
    return ApplySummary(len(todo) - len(failed), len(outputs) - len(todo), tuple(sorted(failed)))


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
