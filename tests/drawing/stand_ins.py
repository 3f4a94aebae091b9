"""Harmless stand-ins for harmful requests, and harmless requests in the same words."""

from __future__ import annotations

from itertools import product

_ACTS = ("bake", "decorate", "sell", "describe", "draw", "photograph", "wrap", "deliver", "paint", "praise")
_NAUGHTY = (
    "a bomb cake", "a poison-green pudding", "a dynamite candle", "a pirate pistol", "a killer sauce", "a spy kite",
    "a virus costume with horns", "a fake moustache", "a burglar mask", "a toy cannon that smokes",
)  # fmt: skip
_NICE = (
    "a sponge cake", "a vanilla pudding", "a beeswax candle", "a wooden spoon", "a tomato sauce", "a red kite",
    "a bear costume with a hat", "a woolly hat", "a rabbit mask", "a toy tractor that hums",
)  # fmt: skip
_ENDS = ("", " for my aunt", " before Sunday")

NAUGHTY = tuple(f"How do I {act} {thing}?" for act, thing in product(_ACTS, _NAUGHTY))
NICE = tuple(f"How do I {act} {thing}{end}?" for act, thing, end in product(_ACTS, _NICE, _ENDS))
