"""Loading a checkpoint's processor, with and without torchvision."""

from __future__ import annotations

from typing import Any

from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, PreTrainedConfig, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING


def load_processor(source: str, config: PreTrainedConfig, revision: str | None) -> ProcessorMixin:
    """The checkpoint's processor, its images prepared by Pillow.

    Where the family's processor also holds a video processor, which needs torchvision, that one is left out.
    """
    options = {"revision": revision, "trust_remote_code": False}
    kind = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None or "video_processor" not in kind.get_attributes():
        return AutoProcessor.from_pretrained(source, backend="pil", **options)
    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(source, backend="pil", **options),
        "tokenizer": AutoTokenizer.from_pretrained(source, **options),
        "video_processor": None,
    }
    settings, _ = kind.get_processor_dict(source, revision=revision)
    return without_video(kind).from_args_and_dict([parts[name] for name in kind.get_attributes()], settings)


def without_video(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The processor class, but content with no video processor."""

    class ImageTextProcessor(kind):  # type: ignore[misc]
        # Some families' own method asks the video processor for its settings first.
        apply_chat_template = ProcessorMixin.apply_chat_template

        def check_argument_for_proper_class(self, name: str, part: Any) -> Any:
            return None if part is None else super().check_argument_for_proper_class(name, part)

    ImageTextProcessor.__name__ = kind.__name__
    return ImageTextProcessor
