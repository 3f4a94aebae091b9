"""A family that transformers does not know: importing this file makes its classes known there."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForImageTextToText, LlavaConfig, LlavaForConditionalGeneration

from davsp.models.llava import Llava


class TheirConfig(LlavaConfig):  # type: ignore[misc]
    model_type = "theirs_vl"


class TheirModel(LlavaForConditionalGeneration):  # type: ignore[misc]
    config_class = TheirConfig


AutoConfig.register("theirs_vl", TheirConfig)
AutoModelForImageTextToText.register(TheirConfig, TheirModel)


class Theirs(Llava):
    """Its images are those of LLaVA."""

    family = "theirs_vl"
