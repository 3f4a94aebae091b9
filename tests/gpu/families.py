"""Every family on its tiny checkpoint, at every precision: vector, training of every layout, asking, evaluating."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from davsp import api
from davsp.data.query import Query
from davsp.defences.visual_safety_prompt import VisualSafetyPrompt, train_prompt
from davsp.imaging.canvas import FixedCanvas
from davsp.models.base import VisionLanguageModel
from davsp.models.loading import DTYPES, QUANTISED, load_model
from davsp.prompts.layouts import Mode
from davsp.training.config import TrainConfig
from davsp.training.jobs import vector_for
from davsp.training.vector import HarmfulnessVector
from tests.gpu.checking import Check, NotApplicableError
from tests.tiny import BUILDERS, save_tiny

PREFIX = "be careful ."
PRECISIONS = (*DTYPES, *QUANTISED)


def checks(family: str, device: str, folder: Path) -> Iterator[Check]:
    """A check for each precision."""
    for dtype in PRECISIONS:
        yield Check(f"{family} {dtype}", TinyRun(family, dtype, device, folder / dtype).stages())


def tiny_queries(count: int) -> list[Query]:
    """As many malicious as benign ones, about images of noise of several sizes."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        pixels = rng.integers(0, 256, (40 + 9 * (i % 3), 55, 3)).astype(np.uint8)
        question = "count the shapes ." if i % 2 else "how do i do what the text says ?"
        answer = "one" if i % 2 else "i am sorry ."
        made.append(Query(f"q{i}", Image.fromarray(pixels), question, answer, malicious=not i % 2))
    return made


class TinyRun:
    """A tiny checkpoint of a family at one precision, and what was made of it so far."""

    def __init__(self, family: str, dtype: str, device: str, folder: Path) -> None:
        self.family, self.dtype, self.device, self.folder = family, dtype, device, folder
        self.model: VisionLanguageModel | None = None
        self.vector: HarmfulnessVector | None = None
        self.prompts: list[VisualSafetyPrompt] = []
        self.queries = tiny_queries(8)

    def stages(self) -> list[tuple[str, Callable[[], object]]]:
        training = [(f"train {mode}", partial(self.train, mode)) for mode in Mode]
        return [
            ("load", self.load),
            ("vector", self.extract),
            *training,
            ("ask", self.ask),
            ("evaluate", self.evaluate),
        ]

    def load(self) -> None:
        if self.dtype in QUANTISED and find_spec("bitsandbytes") is None:
            raise NotApplicableError("bitsandbytes is not installed")
        if (self.dtype, self.device) == ("4bit", "cpu"):
            raise NotApplicableError("on a CPU, bitsandbytes takes no matrices as small as these")
        checkpoint = save_tiny(self.family, self.folder / "model")
        self.model = load_model(str(checkpoint), device=self.device, dtype=self.dtype)
        assert self.model.device.type == self.device.partition(":")[0]

    def extract(self) -> None:
        self.vector = vector_for(self._loaded, self.queries, self.queries, PREFIX, None, batch_size=4, quiet=True)
        assert self.vector.directions.isfinite().all()

    def train(self, mode: Mode) -> None:
        model = self._loaded
        if self.vector is None:
            raise NotApplicableError
        if mode is Mode.FRAME and isinstance(model.canvas, FixedCanvas):
            raise NotApplicableError("its images have one size")
        config = TrainConfig(
            mode=mode, prefix=PREFIX, steps=2, batch_size=4, validate_every=2, validation_answers=2, layer=2
        )
        folder = self.folder / mode.value
        prompt = train_prompt([(model, self.vector)], config, self.queries, self.queries, folder, quiet=True)
        assert prompt.visual and prompt.visual.pixels.isfinite().all()
        self.prompts.append(VisualSafetyPrompt.load(folder))

    def ask(self) -> None:
        for defence in (None, *self.prompts):
            assert isinstance(self._loaded.name, str)
            api.ask(self._loaded, self.queries[0].image, "what colour ?", defence, max_new_tokens=4)

    def evaluate(self) -> None:
        model = self._loaded
        if find_spec("inspect_ai") is None:
            raise NotApplicableError("inspect-ai is not installed")
        defences = [None, *self.prompts[-1:]]
        evaluation = api.evaluate(model, self.queries[:4], defences, max_new_tokens=4, batch_size=4, progress=False)
        assert set(evaluation.results.seconds) and len(evaluation.results.defences) == len(defences)

    @property
    def _loaded(self) -> VisionLanguageModel:
        if self.model is None:
            raise NotApplicableError
        return self.model


FAMILIES = tuple(sorted(BUILDERS))
