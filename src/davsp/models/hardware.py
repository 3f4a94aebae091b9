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


def cpu_is_fast_in_bfloat16() -> bool:
    """Whether this processor answers faster in bfloat16 than in float32: with AVX-512 it does.

    Without it torch has no kernel for such matrix products but a loop of its own, which is far slower.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def hardware_of(module: nn.Module, device: torch.device) -> Hardware:
    """Of a module on a device."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    types = {str(parameter.dtype).removeprefix("torch.") for parameter in module.parameters()}
    return Hardware(f"{device}{name}", ", ".join(sorted(types)))
