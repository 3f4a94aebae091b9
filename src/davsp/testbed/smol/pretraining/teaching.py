"""The decoder as its own teacher: requests that it makes up, and its answers to those and others."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from transformers import LlamaModel

from davsp.judges.refusal import is_refusal
from davsp.testbed.smol.pretraining.generation import continue_prompts
from davsp.testbed.smol.pretraining.recipe import Recipe
from davsp.testbed.smol.pretraining.texts import Sources, own_requests

OPENINGS = (
    *("",) * 10, "Write", "Explain", "How", "What", "List", "Describe", "Give", "Create", "Why", "Suggest", "Is",
    "Can you", "Name", "Compare", "Tell me", "Which", "Who", "When", "Where", "Should", "Make", "Plan", "Find",
    "Define", "Summarize", "Design", "Are there", "Develop", "Provide",
)  # fmt: skip
"""How requests begin that the decoder goes on with: it alone would ask for advice most of the time."""
SYSTEM = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n"
)
"""After its own system prompt, what it writes next is a request (Xu et al. 2024, Magpie)."""
REQUEST_TOKENS = 28


def teach(
    model: LlamaModel, tokenizer: Tokenizer, end: int, sources: Sources, recipe: Recipe, seed: int
) -> dict[str, list[int]]:
    """Harmless requests, given and made up, each with the tokens of the decoder's likeliest answer; those that it
    declines are left out."""

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False).ids)

    generator = torch.Generator(device=model.embed_tokens.weight.device)
    generator.manual_seed(seed)
    openings = [OPENINGS[i % len(OPENINGS)] for i in range(recipe.written)]
    prompts = [encode(SYSTEM + opening) for opening in openings]
    found = continue_prompts(model, prompts, REQUEST_TOKENS, end, recipe.generated_at_once, generator)
    # One that did not end within so many tokens is cut off in the middle, and no request.
    written = [
        opening + tokenizer.decode(tokens)
        for opening, tokens in zip(openings, found, strict=True)
        if tokens and tokens[-1] == end
    ]
    given = sources.harmless if recipe.layers is None else sources.harmless[: recipe.written]
    requests = list(dict.fromkeys([*given, *own_requests(written, sources)]))
    prompts = [encode(f"<|im_start|>user\n{request}<|im_end|>\n<|im_start|>assistant\n") for request in requests]
    answers = continue_prompts(model, prompts, recipe.answer_tokens, end, recipe.generated_at_once)
    return {
        request: answer
        for request, answer in zip(requests, answers, strict=True)
        if not is_refusal(tokenizer.decode(answer))
    }
