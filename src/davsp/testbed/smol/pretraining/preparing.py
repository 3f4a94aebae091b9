"""What all stages need, made by processes while the model is read: glyphs, pictures, and what is asked at the end."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from davsp.drawing.kinds import Kind
from davsp.drawing.typefaces import SHIPPED_FOLDER
from davsp.errors import InputError
from davsp.testbed.smol.pretraining.asking import (
    Asked,
    chosen,
    draw_followed,
    draw_read,
    draw_shapes,
    pictures_asked,
    texts_asked,
)
from davsp.testbed.smol.pretraining.laying import Materials
from davsp.testbed.smol.pretraining.layout import BOX, Face, render
from davsp.testbed.smol.pretraining.pictures import Atlas, build_atlas
from davsp.testbed.smol.pretraining.recipe import Recipe
from davsp.testbed.smol.pretraining.texts import Corpus, Sources

LISTS = ("FreeMonoBold.ttf", "DejaVuSansMono-Bold.ttf")
"""Faces of FigStep's lists: the published images', and ours."""

SHORT = 90
"""Characters of the texts that most rows of the measurement show."""


@dataclass(frozen=True)
class Prepared:
    """`files`: the fonts, in the order of `faces`."""

    files: tuple[Path, ...]
    faces: tuple[Face, ...]
    atlas: Atlas
    asked: tuple[Asked, ...]

    @property
    def glyphs(self) -> np.ndarray:
        """uint8 (glyphs, BOX, BOX), of all faces."""
        return np.concatenate([face.glyphs.reshape(-1, BOX, BOX) for face in self.faces])

    def materials(self, corpus: Corpus, tokenizer: str, end: int, recipe: Recipe) -> Materials:
        """What workers need. `tokenizer`: as JSON."""
        return Materials(
            corpus=corpus,
            names=self.atlas.names,
            things=self.atlas.things,
            advances=[face.advances for face in self.faces],
            heights=[face.heights for face in self.faces],
            lists=tuple(i for i, file in enumerate(self.files) if file.name in LISTS),
            shipped=tuple(i for i, file in enumerate(self.files) if file.parent == SHIPPED_FOLDER),
            tokenizer=tokenizer,
            end=end,
            recipe=recipe,
        )


class Preparation:
    """Work of processes that goes on until `result` is asked for."""

    def __init__(
        self, files: Sequence[Path], pictures: Path | None, sources: Sources, recipe: Recipe, seed: int, workers: int
    ) -> None:
        self._files, self._sources, self._recipe, self._seed = tuple(files), sources, recipe, seed
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        count = recipe.measured
        harmless = chosen([text for text in sources.test_harmless if len(text) <= SHORT], count, seed)
        long = chosen([text for text in sources.test_harmless if len(text) > SHORT], count, seed)
        harmful = chosen(sources.test_harmful, count, seed)
        self._atlas = self._pool.submit(build_atlas, pictures)
        self._faces = [self._pool.submit(render, file) for file in self._files]
        self._asked: list[Future[list[Asked]]] = [
            self._pool.submit(draw_read, "reading_typo", Kind.READING, harmless, seed),
            self._pool.submit(draw_read, "reading_figstep", Kind.FIGSTEP, harmless, seed),
            self._pool.submit(draw_read, "reading_sd_typo", Kind.SD_TYPO, harmless, seed),
            self._pool.submit(draw_read, "reading_long", Kind.READING, long, seed),
            self._pool.submit(draw_read, "reading_harmful", Kind.FIGSTEP, harmful, seed),
            self._pool.submit(draw_followed, "typo_harmful", Kind.TYPO, harmful, seed),
            self._pool.submit(draw_followed, "typo_harmless", Kind.TYPO, harmless, seed),
            self._pool.submit(draw_shapes, "counting", count, seed),
            self._pool.submit(draw_shapes, "colours", count, seed),
        ]

    def result(self) -> Prepared:
        """All of it; the processes end. Raises InputError for a font that cannot be read."""
        with self._pool:
            faces = []
            for file, face in zip(self._files, self._faces, strict=True):
                try:
                    faces.append(face.result())
                except OSError as error:
                    raise InputError(
                        f"{file} is no font that can be read ({error}): remove it from --fonts."
                    ) from error
            atlas = self._atlas.result()
            asked = [each for drawn in self._asked for each in drawn.result()]
        count = self._recipe.measured
        asked += pictures_asked(atlas, count, self._seed) + texts_asked(self._sources, count, self._seed)
        return Prepared(self._files, tuple(faces), atlas, tuple(asked))

    def give_up(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def font_files(folder: Path | None) -> list[Path]:
    """The fonts that come with davsp, and those of a folder. Raises InputError where it has none."""
    files = sorted(SHIPPED_FOLDER.glob("*.ttf"))
    if folder:
        shipped = {file.name for file in files}
        found = [file for file in sorted(folder.glob("*.ttf")) if file.name not in shipped]
        if not found:
            raise InputError(f"{folder} holds no .ttf files but those that davsp has: name a folder of fonts.")
        files += found
    return files
