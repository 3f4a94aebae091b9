"""Images cut into square tiles, with a view of the whole beside them, differentiably."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from davsp.imaging.pixels import resize


def split_tiles(pixels: Float[Tensor, "3 h w"], tile: int) -> Float[Tensor, "n 3 tile tile"]:
    """The tiles of an image whose sides are multiples of `tile`, row by row."""
    rows, columns = pixels.shape[1] // tile, pixels.shape[2] // tile
    return pixels.reshape(3, rows, tile, columns, tile).permute(1, 3, 0, 2, 4).reshape(-1, 3, tile, tile)


def overview(pixels: Float[Tensor, "3 h w"], tile: int, filter: int) -> Float[Tensor, "1 3 tile tile"]:
    """The whole image stretched to one tile, as Pillow does it."""
    return resize(pixels, tile, tile, filter)[None]


def split_tiles_with_overview(pixels: Float[Tensor, "3 h w"], tile: int, filter: int) -> Float[Tensor, "n 3 tile tile"]:
    """The tiles of an image and, if there are several, its overview after them."""
    tiles = split_tiles(pixels, tile)
    return tiles if len(tiles) == 1 else torch.cat([tiles, overview(pixels, tile, filter)])


def pad_tiles(images: list[Shaped[Tensor, "_ ..."]]) -> Shaped[Tensor, "b n ..."]:
    """Images of different numbers of tiles as one batch, filled up with tiles of zeros."""
    most = max(map(len, images))
    return torch.stack([torch.cat([i, i.new_zeros(most - len(i), *i.shape[1:])]) for i in images])


def by_conversation(
    views: Shaped[Tensor, "n tiles *shape"], counts: Sequence[int], images: Sequence[int]
) -> Shaped[Tensor, "b most *shape"]:
    """The tiles of images, of which the first `counts` count, in a row for each conversation, filled up with zeros.
    `images`: how many images each has."""
    used = [view[:count] for view, count in zip(views, counts, strict=True)]
    ends = list(accumulate(images, initial=0))
    return pad_tiles([torch.cat(used[begin:end]) for begin, end in pairwise(ends)])
