"""Answers of the decoder in batches, the likeliest or drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaModel

from davsp.testbed.smol.assembling import llava_config

CACHE = "cache" if "cache" in signature(LlamaModel.forward).parameters else "past_key_values"
"""What transformers calls the keys and values of earlier tokens; it has renamed them."""
MOST_LIKELY = 50
"""Of so many tokens one is drawn."""


def decoder_model(layers: int, device: torch.device, dtype: torch.dtype) -> LlamaModel:
    """transformers' own decoder, whose weights are yet to be loaded."""
    config = llava_config().text_config
    config.num_hidden_layers = layers
    with torch.device("meta"):
        model = LlamaModel(config)
    return model.to_empty(device=device).to(dtype).eval()


def load_weights(model: LlamaModel, weights: dict[str, Tensor]) -> None:
    """Copy weights by name; those of layers that the model does not have are left out."""
    own = model.state_dict()
    with torch.no_grad():
        for name, weight in weights.items():
            if name in own:
                own[name].copy_(weight)
    config = model.config
    fresh = type(model.rotary_emb)(config=config)  # what is in no file was not drawn on the meta device
    model.rotary_emb = fresh.to(model.embed_tokens.weight.device)


def left_padded(prompts: Sequence[Sequence[int]], end: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """int64 tokens and mask of 0 and 1, (prompts, longest)."""
    longest = max(map(len, prompts))
    tokens = torch.tensor([[end] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return tokens.to(device), mask.to(device)


@torch.no_grad()
def generate(
    model: LlamaModel,
    embedded: Tensor,
    mask: Tensor,
    count: int,
    end: int,
    *,
    generator: torch.Generator | None = None,
    temperature: float = 0.9,
) -> list[list[int]]:
    """At most `count` tokens after each prompt, the last of them `end` where that came; at random with a generator.

    `embedded`: (prompts, length, WIDTH), padded on the left; `mask`: (prompts, length).
    """
    matrix = model.embed_tokens.weight
    ended = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    chosen: list[Tensor] = []
    cache = DynamicCache()
    for _ in range(count):
        done = model(inputs_embeds=embedded, attention_mask=mask, position_ids=places, use_cache=True, **{CACHE: cache})
        logits = done.last_hidden_state[:, -1] @ matrix.T
        if generator is None:
            following = logits.argmax(-1)
        else:
            values, which = logits.float().topk(MOST_LIKELY, dim=-1)
            drawn = torch.multinomial((values / temperature).softmax(-1), 1, generator=generator)
            following = which.gather(1, drawn)[:, 0]
        following = torch.where(ended, end, following)
        chosen.append(following)
        ended |= following == end
        if bool(ended.all()):
            break
        embedded = model.embed_tokens(following)[:, None]
        places = places[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    rows = torch.stack(chosen, dim=1).tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in rows]


def continue_prompts(
    model: LlamaModel,
    prompts: Sequence[Sequence[int]],
    count: int,
    end: int,
    at_once: int,
    generator: torch.Generator | None = None,
) -> list[list[int]]:
    """What follows each prompt of tokens, the longest prompts first, so that little is padding."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    answers: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), at_once):
        part = order[start : start + at_once]
        tokens, mask = left_padded([prompts[i] for i in part], end, model.embed_tokens.weight.device)
        found = generate(model, model.embed_tokens(tokens), mask, count, end, generator=generator)
        for i, answer in zip(part, found, strict=True):
            answers[i] = answer
    return answers
