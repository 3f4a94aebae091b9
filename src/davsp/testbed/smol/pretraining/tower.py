"""Vision tower and projector as functions of their weights: fast in training, and the same as transformers' own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from davsp.testbed.smol.pretraining.blocks import Compiled
from davsp.testbed.smol.pretraining.layout import GRID, PATCH

WIDTH, HEADS, LAYERS, TOKEN_WIDTH = 320, 5, 8, 576
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pixels."""
EPSILON = 1e-5
_LAYER = (
    "layer_norm1.weight", "layer_norm1.bias",
    "self_attn.q_proj.weight", "self_attn.q_proj.bias",
    "self_attn.k_proj.weight", "self_attn.k_proj.bias",
    "self_attn.v_proj.weight", "self_attn.v_proj.bias",
    "self_attn.out_proj.weight", "self_attn.out_proj.bias",
    "layer_norm2.weight", "layer_norm2.bias",
    "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
)  # fmt: skip


def vision_block(x: Tensor, *parameters: Tensor) -> Tensor:
    """One layer of the tower, (images, tokens, WIDTH) to the same; `parameters` as in _LAYER, of any precision."""
    n1w, n1b, qw, qb, kw, kb, vw, vb, ow, ob, n2w, n2b, uw, ub, dw, db = [p.to(x.dtype) for p in parameters]
    count, tokens, _ = x.shape
    normed = F.layer_norm(x, (WIDTH,), n1w, n1b, EPSILON)
    split = (count, tokens, HEADS, WIDTH // HEADS)
    q = F.linear(normed, qw, qb).view(split).transpose(1, 2)
    k = F.linear(normed, kw, kb).view(split).transpose(1, 2)
    v = F.linear(normed, vw, vb).view(split).transpose(1, 2)
    seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(count, tokens, WIDTH)
    x = x + F.linear(seen, ow, ob)
    inner = F.linear(F.layer_norm(x, (WIDTH,), n2w, n2b, EPSILON), uw, ub)
    return x + F.linear(inner * torch.sigmoid(1.702 * inner), dw, db)


class Tower(nn.Module):
    """The weights, float32, by their names in the file of parts, and what they make of images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.names = tuple(weights)
        self.values = nn.ParameterList([nn.Parameter(weight.detach().float().clone()) for weight in weights.values()])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        self.block = Compiled(vision_block)

    @property
    def by_name(self) -> dict[str, nn.Parameter]:
        return dict(zip(self.names, self.values, strict=True))

    def matrices(self) -> list[nn.Parameter]:
        """The matrices within the layers."""
        return [p for name, p in self.by_name.items() if ".layers." in name and p.dim() == 2]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of float (images, 3, SIDE, SIDE) in 0..1: what the last layer says of each patch, (images, patches, WIDTH),
        and what the decoder gets, (images, patches, TOKEN_WIDTH)."""
        p = self.by_name
        pixels = ((images - self.mean) / self.deviation).to(self.dtype)

        def cast(name: str) -> Tensor:
            return p[name].to(self.dtype)

        stem = "vision_tower.embeddings"
        patches = F.conv2d(pixels, cast(f"{stem}.patch_embedding.weight"), stride=PATCH).flatten(2).transpose(1, 2)
        head = cast(f"{stem}.class_embedding").expand(len(images), 1, -1)
        x = torch.cat([head, patches], dim=1) + cast(f"{stem}.position_embedding.weight")
        norm = "vision_tower.pre_layrnorm"
        x = F.layer_norm(x, (WIDTH,), cast(f"{norm}.weight"), cast(f"{norm}.bias"), EPSILON)
        for layer in range(LAYERS):
            x = self.block(x, *(p[f"vision_tower.encoder.layers.{layer}.{name}"] for name in _LAYER))
        seen = x[:, 1:]
        first, second = (f"multi_modal_projector.linear_{i}" for i in (1, 2))
        inner = F.gelu(F.linear(seen, cast(f"{first}.weight"), cast(f"{first}.bias")))
        return seen, F.linear(inner, cast(f"{second}.weight"), cast(f"{second}.bias"))

    def state(self) -> dict[str, Tensor]:
        """bfloat16, as the file of parts holds them."""
        return {name: p.detach().to("cpu", torch.bfloat16).contiguous() for name, p in self.by_name.items()}


def read_tower(file: Path) -> dict[str, Tensor]:
    """The weights in a file of parts."""
    return dict(load_file(file))


def fresh_tower(like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of these names and shapes that know nothing yet; places are told apart by waves."""
    weights = {}
    for name, weight in like.items():
        if name.endswith("norm.weight") or ".layer_norm1.weight" in name or ".layer_norm2.weight" in name:
            weights[name] = torch.ones(weight.shape)
        elif weight.dim() == 1 and "class_embedding" not in name:
            weights[name] = torch.zeros(weight.shape)
        else:
            fan = math.prod(weight.shape[1:]) if weight.dim() > 1 else WIDTH
            weights[name] = torch.randn(weight.shape) * fan**-0.5
    weights["vision_tower.embeddings.position_embedding.weight"][1:] = torch.from_numpy(_waves()).float() * 0.3
    return weights


def _waves() -> np.ndarray:
    """(patches, WIDTH) sines and cosines of each patch's row and column."""
    rows, columns = np.mgrid[0:GRID, 0:GRID]
    rates = 1 / 10000 ** (np.arange(WIDTH // 4) / (WIDTH / 4))
    angles = [places.reshape(-1, 1) * rates for places in (rows, columns)]
    return np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1)
