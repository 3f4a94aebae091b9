"""Where a loaded model is, and at which precision, as results tell it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Hardware(NamedTuple):
    """What a model's answers were computed on."""

    device: str
    """`cpu`, or `cuda:0 (NVIDIA H100)`."""
    dtype: str
    """The types of its weights: `bfloat16`, of quantised ones several with ", " between them."""


def hardware_of(module: nn.Module, device: torch.device) -> Hardware:
    """Of a module on a device."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    types = {str(parameter.dtype).removeprefix("torch.") for parameter in module.parameters()}
    return Hardware(f"{device}{name}", ", ".join(sorted(types)))
