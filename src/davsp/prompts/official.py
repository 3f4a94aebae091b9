"""The official code's files: a harmfulness vector and a border, read and written.

harmfulness_vector.pt   {"layer_1": float32 (hidden,), ...}, unit norm; layer_k is decoder layer k
noise-N.pt              float32 (1, 3, H, W), the whole canvas normalised by CLIP's mean and spread
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from davsp.errors import ArtefactError, InputError
from davsp.prompts.layouts import BorderLayout
from davsp.prompts.visual import VisualPrompt
from davsp.util.files import load_tensors, save_tensors

LARGEST_FILE = 2**30
"""Bytes; the published files are far smaller."""
PLAIN = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
PAPER_BORDER = 30
MEAN, SPREAD = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))


def read_directions(path: Path) -> Float[Tensor, "layers hidden"]:
    """The unit directions of an official vector file, float32 (layers, hidden); row k - 1 is decoder layer k.

    Raises InputError when there is no such file, ArtefactError when it holds something else.
    """
    content = _load(path)
    layers = range(1, len(content) + 1) if isinstance(content, dict) else ()
    rows: list[Any] = [content.get(f"layer_{k}") for k in layers]
    if not rows or not all(_is_plain(r) and r.dim() == 1 and r.shape == rows[0].shape for r in rows):
        raise ArtefactError(
            f"{path} is no harmfulness vector: expected plain (dense) float vectors of one size, layer_1 to layer_n."
        )
    directions = torch.stack([row.detach().float() for row in rows])
    lengths = directions.norm(dim=1, keepdim=True)
    if not bool(directions.isfinite().all()) or not bool((lengths > 0).all()):
        raise ArtefactError(f"{path} holds directions that are zero or no numbers.")
    unit: Tensor = directions / lengths
    return unit


def write_directions(directions: Float[Tensor, "layers hidden"], path: Path) -> None:
    """Write an official vector file."""
    save_tensors(path, {f"layer_{k}": row.clone() for k, row in enumerate(directions, start=1)})


def read_noise(path: Path, border: int = PAPER_BORDER) -> VisualPrompt:
    """The border of an official noise file, in pixel units; its inside is dropped. It may lie beyond [0, 1].

    Raises InputError when there is no such file or no such border, ArtefactError when it holds something else.
    """
    noise = _load(path)
    if not _is_plain(noise) or noise.dim() != 4 or noise.shape[:2] != (1, 3):
        raise ArtefactError(
            f"{path} is no border: expected a plain (dense) float tensor of shape (1, 3, height, width)."
        )
    pixels = noise[0].detach().float() * SPREAD + MEAN
    if not bool(pixels.isfinite().all()):
        raise ArtefactError(f"{path} holds values that are no numbers.")
    layout = BorderLayout(pixels.shape[1], pixels.shape[2], border)
    return VisualPrompt(layout, pixels * layout.mask())


def write_noise(prompt: VisualPrompt, path: Path) -> None:
    """Write an official noise file of a border on a square canvas. Raises InputError for another kind of prompt."""
    if not prompt.layout.has_official_format:
        raise InputError("the official format holds a border on a fixed canvas: this prompt is none.")
    save_tensors(path, ((prompt.pixels - MEAN) / SPREAD)[None])


def out_of_range(prompt: VisualPrompt) -> tuple[float, float]:
    """How far pixels lie outside [0, 1] at most, and which share of the border's values do."""
    values = prompt.pixels[:, prompt.layout.mask()]
    outside = (values - values.clamp(0, 1)).abs()
    return float(outside.max()), float((outside > 0).float().mean())


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor of floats that lie in memory, each for itself: not sparse, quantised, nested, without
    data, or repeated without end."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.dtype in PLAIN
        and not (value.is_meta or value.is_nested)
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} is larger than {LARGEST_FILE >> 20} MiB: that is no vector and no border.")
    try:
        return load_tensors(path)
    except ValueError as error:
        raise ArtefactError(f"{path} is damaged, or holds more than tensors: nothing of it was run.") from error
