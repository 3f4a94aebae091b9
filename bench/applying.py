"""`davsp apply` on a folder of photographs, against opening, resizing and encoding them alone."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image, ImageFilter

from bench.measuring import Row, in_turns, row
from davsp.imaging.opening import png_bytes
from davsp.prompts.apply import apply_to_folder
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt

IMAGES, WORKERS = 2000, 2
MEGAPIXELS = (0.3, 0.5, 1.0, 2.0, 3.0, 12.0)
"""As often as each other, but for the last: one in fifty."""
DISTINCT = 12


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG and PNG files of smooth noise, as large on disk as photographs; few distinct ones, copied."""
    rng = np.random.default_rng(0)
    made: list[Path] = []
    for number in range(DISTINCT):
        big = number == 0
        area = (MEGAPIXELS[-1] if big else MEGAPIXELS[number % (len(MEGAPIXELS) - 1)]) * 1e6
        width, height = round((area * 4 / 3) ** 0.5), round((area * 3 / 4) ** 0.5)
        small = Image.fromarray(rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8))
        image = small.resize((width, height), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
        path = folder / f"{number}{'.png' if number % 2 else '.jpg'}"
        image.save(path)
        made.append(path)
    found = []
    for number in range(count):
        source = made[0] if number % 50 == 0 else made[1 + number % (DISTINCT - 1)]
        path = folder / f"copy-{number}{source.suffix}"
        shutil.copyfile(source, path)
        found.append(path)
    for path in made:
        path.unlink()
    return found


def rows(size: str) -> list[Row]:  # noqa: ARG001 - the model plays no part
    """Images per second of a folder, two at a time."""
    layout = BorderLayout(336, 336, border=28)  # as for LLaVA-1.5
    generator = torch.Generator().manual_seed(0)
    prompt = VisualPrompt(layout, torch.rand(3, *layout.size, generator=generator) * layout.mask())
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        files = photographs(folder / "in", IMAGES)

        def alone(source: Path) -> None:
            with Image.open(source) as image:
                inside = layout.interior(image.convert("RGB"))
            (folder / "alone.d" / f"{source.stem}.png").write_bytes(png_bytes(inside))

        def floor() -> None:
            shutil.rmtree(folder / "alone.d", ignore_errors=True)
            (folder / "alone.d").mkdir()
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(alone, files))

        def ours() -> None:
            shutil.rmtree(folder / "out", ignore_errors=True)
            done = apply_to_folder(prompt, folder / "in", folder / "out", workers=WORKERS)
            assert done.written == IMAGES

        seconds = in_turns({"ours": ours, "floor": floor})
    speed = IMAGES / sorted(seconds["ours"])[len(seconds["ours"]) // 2]
    return [
        row(
            f"apply, {IMAGES} images of 0.3 to 12 megapixels, {WORKERS} workers: images per second",
            "any",
            seconds,
            floor_aim=0.9,
            note=f"{speed:.0f} images a second; the floor opens, resizes to the interior and encodes",
        )
    ]
