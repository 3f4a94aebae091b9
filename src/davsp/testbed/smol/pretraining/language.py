"""The decoder with its LoRA as a function of both: all matrices of a kind in one tensor, so that a step is fast.

W + LORA_SCALE * B A is formed in float32 and rounded to the precision of the step, as the checkpoint will hold it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from davsp.testbed.smol.assembling import LORA_SCALE
from davsp.testbed.smol.pretraining.blocks import Compiled

HEADS, KEY_HEADS, HEAD_WIDTH, WIDTH, INNER = 9, 3, 64, 576, 1536
THETA, EPSILON, RANK = 100000.0, 1e-5, 16
MATRICES = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
    "mlp.down_proj",
)  # fmt: skip
NORMS = ("input_layernorm", "post_attention_layernorm")


def attend(qkv: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Causal attention of (rows, length, (HEADS + 2 KEY_HEADS) HEAD_WIDTH) to (rows, length, WIDTH)."""
    rows, length, _ = qkv.shape
    heads = qkv.view(rows, length, HEADS + 2 * KEY_HEADS, HEAD_WIDTH).transpose(1, 2)
    q, k, v = heads.split((HEADS, KEY_HEADS, KEY_HEADS), dim=1)
    q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
    k = k.repeat_interleave(HEADS // KEY_HEADS, dim=1)
    v = v.repeat_interleave(HEADS // KEY_HEADS, dim=1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(rows, length, WIDTH)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; `cos` and `sin`: (length, HEAD_WIDTH)."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


def language_block(
    x: Tensor,
    first_norm: Tensor,
    qkv: Tensor,
    out: Tensor,
    second_norm: Tensor,
    up: Tensor,
    down: Tensor,
    cos: Tensor,
    sin: Tensor,
    shapes: tuple[tuple[int, int], ...],
) -> Tensor:
    """One layer, (tokens, WIDTH) to the same. The tokens are those of groups of sequences, one after the other, of
    these rows and lengths."""
    mixed = F.linear(F.rms_norm(x, (WIDTH,), first_norm, EPSILON), qkv)
    seen, start = [], 0
    for rows, length in shapes:
        part = mixed[start : start + rows * length].view(rows, length, -1)
        seen.append(attend(part, cos[:length], sin[:length]).reshape(rows * length, WIDTH))
        start += rows * length
    x = x + F.linear(torch.cat(seen), out)
    gate, value = F.linear(F.rms_norm(x, (WIDTH,), second_norm, EPSILON), up).chunk(2, dim=-1)
    return x + F.linear(F.silu(gate) * value, down)


class Language(nn.Module):
    """The decoder's weights, fixed, and its LoRA, which is trained. `layers`: how many of the decoder's there are."""

    embeddings: Tensor
    norm: Tensor
    cos: Tensor
    sin: Tensor

    def __init__(self, weights: Mapping[str, Tensor], layers: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.layers, self.dtype = layers, dtype
        for name in MATRICES:
            stacked = torch.stack([weights[f"layers.{i}.{name}.weight"].float() for i in range(layers)])
            self.register_buffer(_key(name), stacked, persistent=False)
            down = torch.randn(layers, RANK, stacked.shape[2]) * stacked.shape[2] ** -0.5
            self.register_parameter(f"{_key(name)}_A", nn.Parameter(down))
            self.register_parameter(f"{_key(name)}_B", nn.Parameter(torch.zeros(layers, stacked.shape[1], RANK)))
        for name in NORMS:
            stacked = torch.stack([weights[f"layers.{i}.{name}.weight"] for i in range(layers)])
            self.register_buffer(name, stacked.to(dtype), persistent=False)
        self.register_buffer("embeddings", weights["embed_tokens.weight"].to(dtype), persistent=False)
        self.register_buffer("norm", weights["norm.weight"].to(dtype), persistent=False)
        rates = THETA ** (-torch.arange(0, HEAD_WIDTH, 2, dtype=torch.float32) / HEAD_WIDTH)
        angles = torch.outer(torch.arange(1024, dtype=torch.float32), rates).repeat(1, 2)
        self.register_buffer("cos", angles.cos().to(dtype), persistent=False)
        self.register_buffer("sin", angles.sin().to(dtype), persistent=False)
        self.block = Compiled(language_block)

    def matrix(self, name: str) -> Tensor:
        """(layers, out, in), float32: a kind of matrix with its LoRA."""
        key = _key(name)
        down, up = getattr(self, f"{key}_A"), getattr(self, f"{key}_B")
        base: Tensor = getattr(self, key)
        return base + LORA_SCALE * torch.bmm(up, down)

    def forward(self, embedded: Sequence[Tensor]) -> Tensor:
        """Of groups of embedded tokens (rows, length, WIDTH): the last hidden states, (all tokens, WIDTH)."""
        qkv = torch.cat([self.matrix(name) for name in MATRICES[:3]], dim=1).to(self.dtype)
        out = self.matrix(MATRICES[3]).to(self.dtype)
        up = torch.cat([self.matrix(name) for name in MATRICES[4:6]], dim=1).to(self.dtype)
        down = self.matrix(MATRICES[6]).to(self.dtype)
        first, second = (getattr(self, name).unbind() for name in NORMS)
        matrices = zip(first, qkv.unbind(), out.unbind(), second, up.unbind(), down.unbind(), strict=True)
        x = torch.cat([group.reshape(-1, WIDTH) for group in embedded])
        shapes = tuple((group.shape[0], group.shape[1]) for group in embedded)
        for each in matrices:
            x = self.block(x, *each, self.cos, self.sin, shapes)
        return F.rms_norm(x, (WIDTH,), self.norm, EPSILON)

    def embed(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.embeddings)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embeddings)

    def state(self) -> dict[str, Tensor]:
        """The LoRA in bfloat16, as the file of parts holds it."""
        lora = {}
        for name in MATRICES:
            for part in "AB":
                stacked = getattr(self, f"{_key(name)}_{part}").detach().to("cpu", torch.bfloat16)
                for i in range(self.layers):
                    lora[f"layers.{i}.{name}.lora_{part}.weight"] = stacked[i].clone()
        return lora

    @torch.no_grad()
    def load(self, lora: Mapping[str, Tensor]) -> None:
        """Take over a LoRA as the file of parts holds it."""
        for name in MATRICES:
            for part in "AB":
                parameter: Tensor = getattr(self, f"{_key(name)}_{part}")
                found = [lora[f"layers.{i}.{name}.lora_{part}.weight"].float() for i in range(self.layers)]
                parameter.copy_(torch.stack(found))

    @torch.no_grad()
    def merged(self) -> dict[str, Tensor]:
        """The matrices with their LoRA, by their names within a LlamaModel."""
        return {
            f"layers.{i}.{name}.weight": matrix
            for name in MATRICES
            for i, matrix in enumerate(self.matrix(name).to(self.dtype).unbind())
        }


def _key(name: str) -> str:
    return name.replace(".", "_")
