"""The decoder, SmolLM2-135M-Instruct: its weights and its tokenizer, from a GGUF file or from its own checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from davsp.errors import ModelError
from davsp.util.failures import reason

GGUF_NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""What llama.cpp calls a Llama's matrices, and what transformers does within its layer."""


@dataclass(frozen=True)
class Decoder:
    """`weights`: float32, under the names that they have within a LlamaModel. `source`: where they are from."""

    weights: dict[str, Tensor]
    tokenizer: PreTrainedTokenizerBase
    source: str


def check_gguf() -> None:
    """Raise ModelError where GGUF files cannot be read."""
    if find_spec("gguf") is None:
        raise ModelError("the decoder is read with the package gguf. Run: pip install 'davsp[smol]'")


def decoder_of_gguf(file: Path, source: str) -> Decoder:
    """The decoder in a GGUF file, its quantised weights as float32."""
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    return Decoder(read_gguf(file), tokenizer, source)


def decoder_of_checkpoint(folder: Path) -> Decoder:
    """The decoder in a folder of transformers' form. Raises ModelError where there is none."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        weights = model.model.state_dict()
    except Exception as error:  # whatever transformers stumbles over in a checkpoint
        raise ModelError(
            f"{folder} holds no language model with its tokenizer ({reason(error)}): name a folder of "
            "SmolLM2-135M-Instruct."
        ) from error
    return Decoder(weights, tokenizer, f"{folder.resolve().name}, as transformers reads it")


def read_gguf(file: Path) -> dict[str, Tensor]:
    """The weights of a Llama in a GGUF file, float32, by their names within transformers' LlamaModel."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(file)
    heads = {
        "attn_q": int(reader.fields["llama.attention.head_count"].contents()),
        "attn_k": int(reader.fields["llama.attention.head_count_kv"].contents()),
    }
    weights: dict[str, Tensor] = {}
    for tensor in reader.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        *layer, part, _ = tensor.name.split(".")  # blk.3.attn_q.weight, output_norm.weight
        name = f"{f'layers.{layer[1]}.' if layer else ''}{GGUF_NAMES[part]}.weight"
        weights[name] = torch.from_numpy(_halves(values, heads[part]) if part in heads else values)
    return weights


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a query or key matrix as transformers has them: the two that are rotated together stand half a head
    apart, while llama.cpp puts them next to each other."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)
