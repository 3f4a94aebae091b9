"""Loading a vision-language model of a supported family."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from davsp.data.query import Query
from davsp.errors import MALFORMED, DavspError, InputError, ModelError
from davsp.models.adapters import HOW_TO_MERGE, Adapter, find_adapter, merge_adapter
from davsp.models.base import VisionLanguageModel, size_of
from davsp.models.checkpoint import checkpoint_folder, digest_checkpoint
from davsp.models.hardware import cpu_is_fast_in_bfloat16
from davsp.models.processors import load_processor
from davsp.models.requests import Request
from davsp.models.shipped import SHIPPED
from davsp.util.failures import reason
from davsp.util.processes import processes
from davsp.util.registry import Registry

FAMILIES: Registry[type[VisionLanguageModel]] = Registry("davsp.models", "model family")
"""By the `model_type` of their configuration. A family is imported before transformers' Auto classes read a checkpoint
of it, so that one that transformers does not know can register its classes there."""
AUTOMATIC = ("auto", "fast")
DTYPES = ("float32", "bfloat16", "float16")
QUANTISED = ("8bit", "4bit")
NEVER_QUANTISED = ["lm_head", "visual", "vision_tower", "vision_model", "multi_modal_projector", "connector"]
"""Modules that keep their precision: the border is trained through those that see."""


def load_model(
    name: str, *, revision: str | None = None, device: str = "auto", dtype: str = "auto"
) -> VisionLanguageModel:
    """Load a frozen model by local folder, by hub id, or a shipped testbed model by its name in SHIPPED.

    A PEFT adapter is merged into the base model that its adapter_config.json names. device: "auto" (a GPU if there is
    one, its own for each process of a run), "cpu", "cuda", "cuda:1" ..., or "split" (over all GPUs, and the CPU where
    they do not suffice). dtype: "auto" (float32 on a CPU, the checkpoint's own elsewhere), "fast" (the same, but
    bfloat16 on a CPU that answers faster in it), "float32", "bfloat16", "float16", or "8bit" and "4bit" (weights
    quantised by bitsandbytes). Code that a checkpoint brings is never run.
    Raises ModelError when the checkpoint is yet to be fetched, cannot be read, lacks weights, is of an unsupported
    family or has a chat template that cannot be used, and for a device or dtype that there is not, or that it cannot be
    run with.
    """
    target = device
    if device in ("auto", "split"):
        target = f"cuda:{processes().local_rank}" if torch.cuda.is_available() else "cpu"
    check_device(target)
    placement = {
        "device_map": "auto" if device == "split" else {"": target},
        **_precision(dtype, target),
    }
    adapter = None if name in SHIPPED else _adapter(name, revision)
    if adapter is None:
        source = str(SHIPPED[name].folder) if name in SHIPPED else name
        model = _whole_model(name, source, revision, placement)
        processor = _processor(name, source, model.config, revision)
        content = digest_checkpoint(checkpoint_folder(source, revision))
    else:
        if dtype in QUANTISED:
            raise ModelError(
                f"{name} is an adapter, which cannot be merged into weights of {dtype}: choose another precision, or "
                f"merge it first ({HOW_TO_MERGE})."
            )
        try:
            model = _whole_model(adapter.base, adapter.base, adapter.base_revision, placement)
        except ModelError as error:
            raise ModelError(
                f"{name} is an adapter, and its base model is not usable: {error}\n"
                f"Name a whole model in {adapter.folder / 'adapter_config.json'} (base_model_name_or_path)."
            ) from error
        model = merge_adapter(model, adapter)
        own = adapter.has_processor
        processor = _processor(
            name,
            str(adapter.folder) if own else adapter.base,
            model.config,
            None if own else adapter.base_revision,
        )
        if adapter.chat_template:
            processor.chat_template = adapter.chat_template
        content = digest_checkpoint(checkpoint_folder(adapter.base, adapter.base_revision), adapter.folder)
    loaded = _ready(FAMILIES.get(model.config.model_type), model, processor, name, revision, content)
    if dtype in QUANTISED:
        _check_computes(loaded, dtype)
    return loaded


def _ready(
    family: type[VisionLanguageModel], model: PreTrainedModel, processor: ProcessorMixin, name: str, *more: Any
) -> VisionLanguageModel:
    """The model, for which a first question was made ready. Raises ModelError where its processor or configuration
    hold what no question can be made ready with."""
    try:
        loaded = family(model, processor, name, *more)
        if loaded.tokenizer.eos_token_id is None:
            raise ModelError(f"{name}: the tokenizer has no end token. Name it in tokenizer_config.json (eos_token).")
        pixels = loaded.canvas_pixels([Query("", Image.new("RGB", (64, 64)), "?")])
        ids = loaded.tokens([loaded.prompt_ids("?", size=size_of(pixels[0]))])
        loaded.inputs(pixels, ids.ids, ids.prompt)
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            torch.tensor(getattr(model.generation_config, key, None) or 0, dtype=torch.long)
        place = getattr(model.config, "image_token_id", None)
        if place is not None and place not in ids.ids:
            raise ModelError(
                f"{name}: config.json says that images stand at token {place}, and the tokenizer puts none there. "
                "Are its files of one model?"
            )
    except DavspError:
        raise
    except (ArithmeticError, RuntimeError, *MALFORMED) as error:
        raise ModelError(
            f"{name} cannot be asked: its processor or configuration holds what no image or question can be made ready "
            f"with ({_reason(error)}). Put the original model's files there: AutoProcessor.from_pretrained(ORIGINAL)"
            ".save_pretrained(FOLDER)."
        ) from error
    return loaded


def _adapter(name: str, revision: str | None) -> Adapter | None:
    try:
        return find_adapter(name, revision)
    except (OSError, ValueError, InputError) as error:
        raise ModelError(f"cannot load the model {name!r}: {_reason(error)}") from error


def _whole_model(name: str, source: str, revision: str | None, placement: Mapping[str, Any]) -> PreTrainedModel:
    """A model of a supported family with all of its weights."""
    if Path(source).exists() and not (Path(source) / "config.json").is_file():
        raise ModelError(f"{name} holds no model: there is no config.json in it.")
    try:
        _import_family(source, revision)
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        if config.model_type not in FAMILIES:
            kind = "is not supported" if hasattr(config, "vision_config") else "reads text alone, no images"
            raise ModelError(
                f"{name} is of family {config.model_type!r}, which {kind}. "
                f"Supported: {', '.join(FAMILIES.names())}. docs/families.md says how to add one."
            )
        model, loading = AutoModelForImageTextToText.from_pretrained(
            source, revision=revision, trust_remote_code=False, output_loading_info=True, **placement
        )
    except ModelError:
        raise
    except Exception as error:  # whatever transformers stumbles over in a checkpoint
        raise ModelError(
            f"cannot load the model {name!r}: {_reason(error)}\n"
            "Give a local folder with config.json, weights and processor, or a hub id that can be reached."
        ) from error
    check_complete(name, loading)
    return model


def _check_computes(model: VisionLanguageModel, dtype: str) -> None:
    """Raise ModelError for a quantised model that bitsandbytes cannot compute, as it shows in a first answer."""
    height, width = model.canvas.square
    try:
        model.respond([Request("?", Image.new("RGB", (width, height)))], 2)
    except (AssertionError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"bitsandbytes cannot compute {model.name} in {dtype} on this device ({_reason(error)}): its matrices may "
            "be too small for it. Choose another precision."
        ) from error


def check_complete(name: str, loading: Mapping[str, Any]) -> None:
    """Raise ModelError, naming them, for weights that a checkpoint lacks or has in another shape: they would be random.

    `loading` is the information on loading that transformers gives; weights that are tied to others are not in it.
    """
    wrong = [f"no weights for {key}" for key in sorted(loading["missing_keys"])]
    wrong += [f"{key} has another shape" for key in sorted(key for key, *_ in loading["mismatched_keys"])]
    if not wrong:
        return
    more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    foreign = sorted(loading["unexpected_keys"])
    said = f" It holds others that the model does not know, such as {foreign[0]}." if foreign else ""
    raise ModelError(
        f"{name} is no whole checkpoint of this model: {', '.join(wrong[:3])}{more}.{said} Such parts would be random. "
        "Save the whole model with transformers (model.save_pretrained), under its own names."
    )


def check_device(target: str) -> None:
    """Raise ModelError for a device that does not exist, or is not there."""
    try:
        kind = torch.device(target).type
    except RuntimeError as error:
        raise ModelError(f"there is no device {target!r}. Choose auto, cpu, cuda, cuda:1 ... or split.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"there is no GPU for {target!r}, or torch was installed without support for it: choose cpu.")


def _import_family(source: str, revision: str | None) -> None:
    """Import the family that a checkpoint's config.json names, if there is one of that name."""
    settings, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    if (model_type := settings.get("model_type")) in FAMILIES:
        FAMILIES.get(model_type)


def _processor(name: str, source: str, config: PreTrainedConfig, revision: str | None) -> ProcessorMixin:
    try:
        return load_processor(source, config, revision)
    except Exception as error:  # whatever transformers stumbles over in a processor
        raise ModelError(
            f"{name} has no processor that can be read (files such as preprocessor_config.json and tokenizer.json): "
            f"{_reason(error)}\nSave the original model's beside the weights: "
            "AutoProcessor.from_pretrained(ORIGINAL).save_pretrained(FOLDER)."
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of what a library says."""
    return reason(error).partition(". ")[0]


def _precision(dtype: str, target: str) -> dict[str, Any]:
    """What `from_pretrained` is told of the weights' precision."""
    if dtype in QUANTISED:
        if find_spec("bitsandbytes") is None:
            raise ModelError(f"{dtype} weights need bitsandbytes. Run: pip install 'davsp[quantise]'")
        bits = {
            f"load_in_{dtype}": True,
            "bnb_4bit_compute_dtype": torch.bfloat16,
            "llm_int8_skip_modules": NEVER_QUANTISED,
        }
        return {"quantization_config": BitsAndBytesConfig(**bits)}
    if dtype in AUTOMATIC:
        if target != "cpu":
            return {"dtype": "auto"}
        return {"dtype": torch.bfloat16 if dtype == "fast" and cpu_is_fast_in_bfloat16() else torch.float32}
    if dtype not in DTYPES:
        known = ", ".join((*AUTOMATIC, *DTYPES, *QUANTISED))
        raise ModelError(f"there is no precision {dtype!r}. Choose from {known}.")
    return {"dtype": getattr(torch, dtype)}
