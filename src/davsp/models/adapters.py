"""PEFT adapters: what lies in their folders, and merging them into the weights of their base model."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.utils import find_adapter_config_file

from davsp.errors import ModelError
from davsp.util.files import read_json

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
FILES = ["*.json", "*.jinja", "*.model", "*.txt", WEIGHTS]
"""What of a repository is downloaded."""
HOW_TO_MERGE = (
    "PeftModel.from_pretrained(BASE, ADAPTER).merge_and_unload().save_pretrained(FOLDER), and "
    "AutoProcessor.from_pretrained(...).save_pretrained(FOLDER) beside it"
)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter: the folder that its files lie in, and the base model it was trained on, a folder or hub id."""

    name: str
    folder: Path
    base: str
    base_revision: str | None

    @property
    def has_processor(self) -> bool:
        """Whether a whole processor was saved with it."""
        images = ("preprocessor_config.json", "processor_config.json")
        return (self.folder / "tokenizer_config.json").is_file() and any((self.folder / f).is_file() for f in images)

    @property
    def chat_template(self) -> str | None:
        """The chat template that was saved with it, if any."""
        file = self.folder / "chat_template.jinja"
        return file.read_text("utf-8") if file.is_file() else None


def find_adapter(name: str, revision: str | None = None) -> Adapter | None:
    """The adapter in a local folder or a repository of the hub, which is then downloaded; None where there is none.

    Raises ModelError for one that cannot be merged here, or lies in one folder with a whole model.
    """
    found = find_adapter_config_file(name, revision=revision)
    if found is None:
        return None
    config = read_json(Path(found), f"{name} holds no adapter")
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not isinstance(base, str) or not base:
        raise ModelError(f"{found} names no base model: set base_model_name_or_path to its folder or hub id.")
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"{name} is an adapter of kind {config.get('peft_type')}, and only LORA is merged here: merge it with PEFT "
            f"({HOW_TO_MERGE})."
        )
    if find_spec("peft") is None:
        raise ModelError(
            f"{name} is a PEFT adapter for {base}. Run: pip install 'davsp[adapters]', or merge it ({HOW_TO_MERGE})."
        )
    folder = (
        Path(name) if Path(name).is_dir() else Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    )
    if (folder / "config.json").is_file():
        raise ModelError(
            f"{name} holds a whole model (config.json) and an adapter ({CONFIG}): move the adapter's two files into a "
            "folder of their own, or delete them if they are merged already."
        )
    if not (folder / WEIGHTS).is_file():
        pickled = f": {PICKLED} may hold code, and is never read" if (folder / PICKLED).is_file() else ""
        raise ModelError(
            f"{name} holds no {WEIGHTS}{pickled}. Save the adapter again with a recent PEFT (model.save_pretrained)."
        )
    return Adapter(name, folder, base, config.get("revision"))


def merge_adapter(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """The base model with the adapter merged into its weights, which changes `model` itself.

    Raises ModelError for an adapter that is damaged, or does not fit the model.
    """
    from peft import PeftConfig, PeftModel

    try:
        with safe_open(adapter.folder / WEIGHTS, "pt") as tensors:
            count = len(tensors.keys())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PEFT to transformers, and of what is asked for below
            wrapped = PeftModel(model, PeftConfig.from_pretrained(str(adapter.folder)))
            mapping = getattr(model, "_checkpoint_conversion_mapping", {})
            loaded = wrapped.load_adapter(
                str(adapter.folder), "default", torch_device=str(model.device), key_mapping=mapping
            )
            foreign = sorted(loaded.unexpected_keys)
            if foreign or not count:
                raise ValueError(f"{len(foreign)} of its {count} tensors have no place in it, such as {foreign[:1]}")
            merged: PreTrainedModel = wrapped.merge_and_unload(safe_merge=True)
    except (ImportError, KeyError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"the adapter {adapter.name} cannot be merged into {adapter.base}: {reason}. Name the model that it was "
            f"trained on in its {CONFIG} (base_model_name_or_path)."
        ) from error
    return merged
