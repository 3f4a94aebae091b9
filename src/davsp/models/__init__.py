"""Loading a vision-language model of a supported family."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from davsp.errors import ModelError
from davsp.models.base import VisionLanguageModel
from davsp.models.llava import Llava

FAMILIES: dict[str, type[VisionLanguageModel]] = {family.family: family for family in (Llava,)}
TESTBED = "testbed"

__all__ = ["FAMILIES", "TESTBED", "VisionLanguageModel", "load_model"]


def load_model(
    name: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> VisionLanguageModel:
    """Load a frozen model by local folder, by hub id, or the shipped testbed by the name "testbed".

    device: "auto" (a GPU if there is one), "cpu", "cuda", "cuda:1" ... dtype: "auto" (float32 on a CPU, the
    checkpoint's own elsewhere), "float32", "bfloat16" or "float16". Raises ModelError when the checkpoint
    cannot be read or is of an unsupported family.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    source = str(files("davsp.testbed") / "checkpoint") if name == TESTBED else name
    if name != TESTBED and Path(name).exists() and not (Path(name) / "config.json").is_file():
        raise ModelError(f"{name} holds no model: there is no config.json in it.")
    precision = "float32" if dtype == "auto" and place.type == "cpu" else dtype
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
        family = FAMILIES.get(config.model_type)
        if family is None:
            raise ModelError(
                f"{name} is of family {config.model_type!r}, which is not supported. "
                f"Supported: {', '.join(sorted(FAMILIES))}."
            )
        processor = AutoProcessor.from_pretrained(source, revision=revision)
        model = AutoModelForImageTextToText.from_pretrained(
            source,
            revision=revision,
            dtype=precision if precision == "auto" else getattr(torch, precision),
            attn_implementation="eager" if place.type == "cpu" else "sdpa",
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"cannot load the model {name!r}: {reason}\n"
            "Give a local folder with config.json, weights and processor, or a hub id that can be reached."
        ) from error
    return family(model.to(place), processor, name, revision)
