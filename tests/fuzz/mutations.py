"""Files as they come damaged, cut short, or written by somebody else: made from good ones by hypothesis."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_HUGE, _DEEP = "@@ a number of 5,000 digits @@", "@@ a thousand lists in each other @@"
ODD_VALUES: Sequence[Any] = (
    *(None, True, False, 0, -1, 7, 2**31, 10**12, 0.5, -1.5, 1e308, float("nan"), float("inf")),
    *("", " ", "text", "0", "nan", "\x00", "../../x", "\ud83d\ude00", "e\u0301", "a" * 5000, _HUGE, _DEEP),
    *([], [None], [[]], {}, {"a": 1}, [1, 2, 3], {"": None}),
)
"""What a field may hold that should hold something else."""


def damaged_bytes(content: bytes) -> SearchStrategy[bytes]:
    """The file cut short, with flipped, inserted or repeated bytes, with another length in front, or of noise."""
    places = st.integers(0, max(len(content) - 1, 0))

    def cut(at: int) -> bytes:
        return content[:at]

    def flipped(changes: list[tuple[int, int]]) -> bytes:
        changed = bytearray(content)
        for at, bits in changes:
            if at < len(changed):
                changed[at] ^= bits
        return bytes(changed)

    def inserted(at: int, more: bytes) -> bytes:
        return content[:at] + more + content[at:]

    def repeated(at: int) -> bytes:
        return content[:at] + content

    def lengthened(length: int) -> bytes:
        return struct.pack("<Q", length) + content[8:]

    head = st.integers(0, min(len(content), 200))
    flips = st.lists(st.tuples(st.one_of(head, places), st.integers(1, 255)), min_size=1, max_size=8)
    return st.one_of(
        st.builds(cut, places),
        st.builds(flipped, flips),
        st.builds(inserted, places, st.binary(min_size=1, max_size=20)),
        st.builds(repeated, places),
        st.builds(lengthened, st.integers(0, 2**64 - 1)),
        st.binary(max_size=300),
    )


def damaged_json(content: Any) -> SearchStrategy[bytes]:
    """The file with a value of another kind in one or two places, a key too few or too many, or another shape; or
    damaged as bytes."""

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        tree = [deepcopy(content)]
        for _ in range(draw(st.integers(1, 2))):
            holder, key = _draw_place(draw, tree)
            what = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add", "wrap")))
            if what == "replace":
                holder[key] = deepcopy(draw(st.sampled_from(ODD_VALUES)))
            elif what == "remove" and holder is not tree:
                del holder[key]
            elif what == "add" and isinstance(holder[key], dict):
                holder[key][draw(st.sampled_from(("", "new", "\x00")))] = deepcopy(draw(st.sampled_from(ODD_VALUES)))
            elif what == "wrap":
                holder[key] = draw(st.sampled_from(([holder[key]], {"value": holder[key]})))
        return as_text(tree[0])

    return st.one_of(changed(), changed(), changed(), damaged_bytes(as_text(content)))


def damaged_lines(records: Sequence[Any]) -> SearchStrategy[bytes]:
    """A JSON Lines file with damaged records among good ones."""
    lines = [as_text(record) for record in records]

    def put(at: int, line: bytes) -> bytes:
        return b"\n".join([*lines[:at], line, *lines[at:]]) + b"\n"

    damaged = st.one_of(*(damaged_json(record) for record in records))
    return st.builds(put, st.integers(0, len(lines)), damaged)


def as_text(content: Any) -> bytes:
    """JSON with what Python's own writer cannot make."""
    text = json.dumps(content)
    text = text.replace(json.dumps(_HUGE), "9" * 5000).replace(json.dumps(_DEEP), "[" * 1000 + "]" * 1000)
    return text.encode()


def _draw_place(draw: st.DrawFn, tree: list[Any]) -> tuple[Any, Any]:
    """A list or dict and a key of it, somewhere in the tree."""
    holder: Any = tree
    key: Any = 0
    while isinstance(holder[key], list | dict) and holder[key] and draw(st.booleans()):
        holder = holder[key]
        key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    return holder, key
