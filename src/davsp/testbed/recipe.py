"""The recipe of the testbed model: its phases, and the examples that each of them learns from.

Every batch is a function of (seed, phase, step) alone, so a run that is stopped goes on as if it had not been.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from davsp.models.tokens import NO_LABEL
from davsp.prompts.text import with_prefix
from davsp.testbed.architecture import Architecture
from davsp.testbed.llava import TestbedLlava
from davsp.testbed.patches import draw_scene, patch_targets
from davsp.testbed.queries import ACTIVITY_KINDS, TWIN_KINDS, Kind, TestbedQuery, ask_about, ask_skill
from davsp.testbed.qwen2vl import TestbedQwen2VL
from davsp.testbed.safety import PREFIXES, refusal_probability
from davsp.testbed.scenes import Size
from davsp.testbed.surroundings import Placement, compose, place
from davsp.testbed.world import REFUSAL, Harm, Split, activities

Batch = dict[str, Tensor]
WIDTH_STEP = 16
"""Batches are padded to a multiple of this many tokens: kernels are prepared anew for every new shape."""
HARM_SHARES = {Harm.MALICIOUS: 0.42, Harm.TWIN: 0.19, Harm.BENIGN: 0.39}
"""How many of the activities asked about are of each harm."""
SKILLS = (Kind.READING, Kind.COLOURS, Kind.COUNTING)
SKILL_SHARES = (0.5, 0.25, 0.25)
"""How often each of them is asked about, among the skills."""
TEXT_LENGTHS = (1, 2, 3, 3, 3)
"""Words of the texts to read, each equally often: in what order three words stand is the hardest to learn."""
WRITTEN_TWICE = (Kind.TYPO, Kind.FIGSTEP)
"""Kinds asked about twice as often as the others: harm in writing is the hardest to see."""


ARCHITECTURES: dict[str, type[Architecture]] = {a.name: a for a in (TestbedLlava, TestbedQwen2VL)}


@dataclass(frozen=True)
class Phase:
    """One stage of the recipe.

    `tower_rate` scales the learning rate of the vision tower; 0 freezes it. `skills` is the share of reading, colours
    and counting among what is asked (they are learnt more slowly than activities), `skill_shares` how often each of
    the three is.
    """

    name: str
    steps: int
    batch: int
    rate: float
    tower_rate: float = 0.0
    skills: float = 0.0
    warmup: int = 50
    skill_shares: tuple[float, float, float] = SKILL_SHARES


@dataclass(frozen=True)
class PretrainingRecipe:
    """The whole recipe; the defaults made the shipped LLaVA."""

    seed: int = 0
    architecture: str = TestbedLlava.name
    phases: tuple[Phase, ...] = (
        Phase("look", steps=2100, batch=64, rate=1e-3, tower_rate=1.0),
        Phase("speak", steps=800, batch=64, rate=2e-3, skills=0.6),
        Phase("name", steps=250, batch=64, rate=2e-3),
        Phase("care", steps=1850, batch=64, rate=1e-3, tower_rate=0.5, skills=0.5),
    )
    workers: int = 1
    save_every: int = 100


RECIPES = {
    TestbedLlava.name: PretrainingRecipe(),
    TestbedQwen2VL.name: PretrainingRecipe(
        architecture=TestbedQwen2VL.name,
        phases=(
            Phase("look", steps=2000, batch=64, rate=1e-3, tower_rate=1.0),
            Phase("speak", steps=800, batch=64, rate=2e-3, skills=0.6),
            Phase("name", steps=250, batch=64, rate=2e-3),
            Phase("care", steps=1500, batch=64, rate=1e-3, tower_rate=0.5, skills=0.5),
            # Its decoder, which knows two places of every patch, is slow to match shapes and colours.
            Phase("practise", 700, batch=64, rate=1e-3, tower_rate=0.5, skills=0.75, skill_shares=(0.15, 0.7, 0.15)),
        ),
    ),
}
"""What made the shipped checkpoints, by architecture."""


@dataclass(frozen=True)
class PretrainingExample:
    """A query as it is put to the model, and how likely the model is to be taught to refuse it."""

    query: TestbedQuery
    placement: Placement
    question: str
    refusal: float


class Batches(Dataset[Batch]):
    """Batch number `step` of a phase."""

    def __init__(self, recipe: PretrainingRecipe, phase: Phase) -> None:
        self.seed, self.phase = recipe.seed, phase
        self.architecture = ARCHITECTURES[recipe.architecture]
        self.processor = self.architecture.build_processor()
        self.number = [p.name for p in recipe.phases].index(phase.name)
        image = self.processor.image_processor
        self.mean = np.asarray(image.image_mean, dtype=np.float32)
        self.std = np.asarray(image.image_std, dtype=np.float32)

    def __len__(self) -> int:
        return self.phase.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, self.number, step])
        canvases = self.architecture.canvases
        canvas = canvases[rng.integers(len(canvases))] if len(canvases) > 1 else canvases[0]
        if self.phase.name in ("look", "name"):
            batch = self._image_batch(rng, canvas)
        else:
            # Every other batch has a safety prefix, so that a batch's texts are of like length.
            batch = self._question_batch(rng, canvas, prefixed=step % 2 == 1)
        return batch | {"canvas": torch.tensor(canvas)}

    def _image_batch(self, rng: np.random.Generator, canvas: Size) -> Batch:
        """Images and what lies in each of their patches."""
        images, things, characters = [], [], []
        for _ in range(self.phase.batch):
            scene, placement = draw_scene(rng), place(canvas, rng)
            images.append(self._pixels(np.asarray(compose(scene.draw(), canvas, placement, rng))))
            targets = patch_targets(scene, placement, canvas, self.architecture.token_side)
            things.append(targets.things)
            characters.append(targets.characters)
        return {
            "pixel_values": torch.from_numpy(np.stack(images)),
            "things": torch.from_numpy(np.stack(things)),
            "characters": torch.from_numpy(np.stack(characters)),
        }

    def _question_batch(self, rng: np.random.Generator, canvas: Size, prefixed: bool) -> Batch:
        """Questions and answers about images, or about what lies in their patches."""
        examples = [self._example(rng, canvas, prefixed) for _ in range(self.phase.batch)]
        batch = self._tokens(examples, canvas, rng)
        side = self.architecture.token_side
        targets = [patch_targets(e.query.scene, e.placement, canvas, side) for e in examples]
        batch["things"] = torch.from_numpy(np.stack([t.things for t in targets]))
        if self.phase.name == "speak":
            return batch
        images = [self._pixels(np.asarray(compose(e.query.scene.draw(), canvas, e.placement, rng))) for e in examples]
        batch["characters"] = torch.from_numpy(np.stack([t.characters for t in targets]))
        return batch | {"pixel_values": torch.from_numpy(np.stack(images))}

    def _example(self, rng: np.random.Generator, canvas: Size, prefixed: bool) -> PretrainingExample:
        """A query, where it is placed, how its question is put, and how likely a refusal is."""
        drawn, placement = draw_query(rng, self.phase.skills, self.phase.skill_shares), place(canvas, rng)
        which = 0 if rng.random() < 0.6 else int(rng.integers(1, len(PREFIXES)))
        question = with_prefix(drawn.question, PREFIXES[which] if prefixed else "")
        refusal = refusal_probability(drawn, prefixed, len(placement.signs))
        return PretrainingExample(drawn, placement, question, refusal)

    def _pixels(self, image: np.ndarray) -> np.ndarray:
        return ((image.astype(np.float32) / 255 - self.mean) / self.std).transpose(2, 0, 1)

    def _tokens(self, examples: list[PretrainingExample], canvas: Size, rng: np.random.Generator) -> Batch:
        """Right-padded token ids with labels on the answer alone; causal attention needs no mask then.

        An answer is a refusal as often as its odds say. `openings`, int64 (B, 2), are the first tokens of the right
        answer and of a refusal, `refusal`, float32 (B,), how likely the latter is.
        """
        tokenizer = self.processor.tokenizer
        refusing = tokenizer(REFUSAL + "<eos>")["input_ids"]
        rows, labels, openings = [], [], []
        for example in examples:
            prompt = f"<bos>user : {self.architecture.image_text(canvas)} {example.question} assistant : "
            prompt_ids = tokenizer(prompt)["input_ids"]
            helping = tokenizer(example.query.right + "<eos>")["input_ids"]
            answer = refusing if rng.random() < example.refusal else helping
            rows.append(prompt_ids + answer)
            labels.append([NO_LABEL] * len(prompt_ids) + answer)
            openings.append([helping[0], refusing[0]])
        width = -(-max(map(len, rows)) // WIDTH_STEP) * WIDTH_STEP
        pad = tokenizer.pad_token_id
        return {
            "input_ids": torch.tensor([r + [pad] * (width - len(r)) for r in rows]),
            "labels": torch.tensor([r + [NO_LABEL] * (width - len(r)) for r in labels]),
            "openings": torch.tensor(openings),
            "refusal": torch.tensor([example.refusal for example in examples]),
        }


def draw_query(
    rng: np.random.Generator, skills: float, shares: tuple[float, float, float] = SKILL_SHARES
) -> TestbedQuery:
    """A query of the pretraining split: about a skill with probability `skills`, else of a harm from HARM_SHARES."""
    if rng.random() < skills:
        kind = SKILLS[rng.choice(len(SKILLS), p=shares)]
        return ask_skill(kind, Split.PRETRAIN, rng, words=TEXT_LENGTHS[rng.integers(len(TEXT_LENGTHS))])
    harm = list(HARM_SHARES)[rng.choice(len(HARM_SHARES), p=list(HARM_SHARES.values()))]
    kinds: tuple[Kind, ...] = TWIN_KINDS if harm is Harm.TWIN else ACTIVITY_KINDS
    kinds += tuple(k for k in kinds if k in WRITTEN_TWICE)
    pairs = activities(harm, Split.PRETRAIN)
    return ask_about(pairs[rng.integers(len(pairs))], kinds[rng.integers(len(kinds))], harm, rng)
