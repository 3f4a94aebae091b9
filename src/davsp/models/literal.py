"""User text that holds a model's own tokens, such as <image> in a question about HTML, read as the text it is."""

from __future__ import annotations

import re
from functools import lru_cache

import transformers


@lru_cache(maxsize=8)
def own_tokens(tokenizer: transformers.PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches, and captures, every token that means something else to the model than the text that it is."""
    tokens = sorted({t.content for t in tokenizer.added_tokens_decoder.values() if t.special}, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, tokens))})" if tokens else r"(?!)")


def literal_ids(tokenizer: transformers.PreTrainedTokenizerBase, text: str, tail: str) -> list[int]:
    """The ids of a text whose own tokens are spelt out, and of the prompt's `tail` after it, in which they are none.

    The text between such tokens is read as it would be without them.
    """
    plain, *rest = own_tokens(tokenizer).split(text)
    ids: list[int] = _ids(tokenizer, plain)
    for token, after in zip(rest[::2], rest[1::2], strict=True):
        ids += tokenizer(token, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        ids += _ids(tokenizer, after)
    return ids + _ids(tokenizer, tail)


def _ids(tokenizer: transformers.PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
    return ids
