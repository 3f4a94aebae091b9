"""What a vision tower should see in every patch: the dense targets it is pretrained on."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from davsp.testbed.composition import TEXT_SIZES, to_rgb
from davsp.testbed.queries import ACTIVITY_KINDS, SKILL_KINDS, ask_about, ask_skill
from davsp.testbed.scenes import SIZE, Item, Scene, Shape, Size, Sprite, Word, box_of, characters_of, font
from davsp.testbed.surroundings import SIGNS, Placement
from davsp.testbed.world import COLOURS, OBJECTS, SHAPES, VERBS, Harm, Split, activities

CHARACTERS = string.ascii_lowercase + "123."
THINGS: tuple[str, ...] = (
    "nothing",
    *(f"word {w}" for w in (*VERBS, *OBJECTS, "1.", "2.", "3.")),
    *(f"sprite {o}" for o in OBJECTS),
    *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
    *(f"sign {s}" for s in SIGNS),
)
_THING_INDEX = {thing: i for i, thing in enumerate(THINGS)}
NOTHING_WEIGHT = 0.15
CHARACTER_WEIGHT = 2.0
SPELLING_WEIGHT = 30.0
"""Letters are learnt first and words are read from them: a small weight here leaves the model illiterate."""


@dataclass(frozen=True)
class PatchTargets:
    """`things`: int64 (patches,), an index into THINGS. `characters`: bool (patches, characters)."""

    things: np.ndarray
    characters: np.ndarray


def _name(item: Item) -> str:
    match item:
        case Word():
            return f"word {item.text}"
        case Sprite():
            return f"sprite {item.object}"
        case Shape():
            return f"{item.colour} {item.shape}"


def patch_targets(scene: Scene, placement: Placement, canvas: Size, patch: int) -> PatchTargets:
    """Which thing covers each patch's centre, and which characters have their centre in it."""
    grid = [side // patch for side in canvas]
    things = np.zeros(grid, dtype=np.int64)
    characters = np.zeros((*grid, len(CHARACTERS)), dtype=bool)
    scale = placement.size / SIZE

    def covered(low: float, high: float, axis: int) -> np.ndarray:
        centres = (np.arange(grid[axis]) + 0.5) * patch
        hit: np.ndarray = (centres >= low) & (centres <= high)
        # A thing thinner than a patch still claims the patch its middle lies in.
        hit[min(int((low + high) / 2 / patch), grid[axis] - 1)] = True
        return hit

    def mark(left: float, top: float, right: float, bottom: float, thing: str) -> None:
        things[np.ix_(covered(top, bottom, 0), covered(left, right, 1))] = _THING_INDEX[thing]

    for style, x, y, size in placement.signs:
        mark(x, y, x + size, y + size, f"sign {style}")
    for item in scene.items:
        left, top, right, bottom = box_of(item)
        mark(
            placement.left + left * scale,
            placement.top + top * scale,
            placement.left + right * scale,
            placement.top + bottom * scale,
            _name(item),
        )
        if isinstance(item, Word):
            for character, across, down in characters_of(item):
                column = int((placement.left + across * scale) / patch)
                row = int((placement.top + down * scale) / patch)
                characters[min(row, grid[0] - 1), min(column, grid[1] - 1), CHARACTERS.index(character)] = True
    return PatchTargets(things.reshape(-1), characters.reshape(-1, len(CHARACTERS)))


class PatchReader(nn.Module):
    """The head that reads the targets off a tower's patch states; thrown away after pretraining."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.things = nn.Linear(width, len(THINGS))
        self.characters = nn.Linear(width, len(CHARACTERS))

    def forward(self, states: Tensor, things: Tensor, characters: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and the share of patches holding something whose thing is right (scalar).

        Shapes: states (B, P, width), things int64 (B, P), characters bool (B, P, C).
        """
        normed = self.norm(states)
        scores = self.things(normed).float()
        weights = torch.ones(len(THINGS))
        weights[0] = NOTHING_WEIGHT
        named = F.cross_entropy(scores.flatten(0, 1), things.flatten(), weight=weights)
        spelled = F.binary_cross_entropy_with_logits(
            self.characters(normed).float(), characters.float(), pos_weight=torch.tensor(CHARACTER_WEIGHT)
        )
        something = things > 0
        right = (scores.argmax(-1) == things)[something].float().mean()
        return named + SPELLING_WEIGHT * spelled, right


def draw_scene(rng: np.random.Generator) -> Scene:
    """A scene to look at: two in three crowded, the others those of the pretraining queries."""
    if rng.random() < 0.65:
        return _crowded(rng)
    kinds = (*ACTIVITY_KINDS, *SKILL_KINDS)
    kind = kinds[rng.integers(len(kinds))]
    if kind in SKILL_KINDS:
        return ask_skill(kind, Split.PRETRAIN, rng).scene
    harm = list(Harm)[rng.integers(len(Harm))]
    pairs = activities(harm, Split.PRETRAIN)
    return ask_about(pairs[rng.integers(len(pairs))], kind, harm, rng).scene


def _crowded(rng: np.random.Generator) -> Scene:
    """Many words, all verbs or all objects so that no activity is shown, or a grid of pictures."""
    paper, ink = to_rgb(rng.integers(175, 256, size=3)), to_rgb(rng.integers(0, 90, size=3))
    items: list[Item] = []
    if rng.random() < 0.75:
        words = VERBS if rng.random() < 0.5 else OBJECTS
        size = int(rng.integers(*TEXT_SIZES))
        step = size * rng.uniform(1.15, 1.3)
        y = rng.uniform(2, 12)
        while y + step < SIZE:
            x = rng.uniform(4, 24)
            while True:
                text = str(rng.choice(words))
                end = x + font(size).getlength(text)
                if end > SIZE - 4:
                    break
                items.append(Word(text, x, y, size, ink))
                x = end + size * rng.uniform(0.3, 0.6)
            y += step
    else:
        for cell in rng.permutation(4)[: rng.integers(2, 5)]:
            x, y = (cell % 2) * 112 + rng.uniform(2, 14), (cell // 2) * 112 + rng.uniform(2, 14)
            size = int(rng.integers(64, 97))
            if rng.random() < 0.6:
                items.append(Sprite(str(rng.choice(OBJECTS)), x, y, size))
            else:
                items.append(Shape(str(rng.choice(SHAPES)), str(rng.choice(list(COLOURS))), x, y, size * 2 // 3))
    return Scene(tuple(items), paper)
