"""Flat regions of an image made flat again: small changes are gone from them, and edges stay.

Fewer colours against adversarial images is feature squeezing (Xu et al. 2018). Here the colours are those of the image
itself, and only what lies near one of them is brought to it, so that little is left that a small change could move.
"""

from __future__ import annotations

from math import inf

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial import KDTree
from torch import Tensor

from davsp.imaging.pixels import rounded

BIN = 8
"""Levels of 255 that are counted as one."""
LEAST_SHARE = 0.005
"""Of an image's pixels, that a colour has to have near it."""


def flattened(image: Float[Tensor, "3 h w"], radius: int) -> Float[Tensor, "3 h w"]:
    """Pixels brought to the image's main colours: one that lies within `radius` (levels of 255, every channel) of the
    nearest becomes that colour, one further than twice `radius` stays as it is, and between the two it is in between.

    Main colours are the means of clusters. One begins at the colour that has most pixels within `radius`, and takes in
    those that are in none yet. A region of one colour that somebody changed by at most a third of `radius` is of one
    colour again, if no other main colour is near. In the 256 levels of a file, and differentiable: the gradient passes
    over the rounding and over what the clusters are.
    """
    pixels = image.reshape(3, -1)
    levels = (pixels.detach() * 255).round().to(torch.uint8).cpu().numpy()
    cluster = torch.from_numpy(_clusters(levels, max(1, radius // BIN))).to(pixels.device)
    sizes = cluster.bincount()
    sums = pixels.new_zeros(3, len(sizes)).index_add(1, cluster, pixels)
    colours = (sums / sizes)[:, sizes >= min(LEAST_SHARE * pixels.shape[1], int(sizes.max()))]
    _, nearest = KDTree(colours.detach().T.cpu().numpy()).query(levels.T / 255, p=inf)
    own = colours[:, torch.from_numpy(nearest).to(pixels.device)]
    distance = (pixels - own).abs().amax(0)
    share = (2 * (distance - radius / 255) / distance.clamp_min(1e-6)).clamp(0, 1)
    return rounded(own + share * (pixels - own)).view(image.shape)


def _clusters(levels: NDArray[np.uint8], reach: int) -> NDArray[np.int64]:
    """The cluster of each pixel, from 0; levels (3, n), `reach` in bins."""
    shape = (256 // BIN,) * 3
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, tuple(levels // BIN), 1)
    near = uniform_filter(counts.astype(float), 2 * reach + 1, mode="constant")
    left = np.argwhere(counts)
    left = left[np.argsort(-near[tuple(left.T)], kind="stable")]
    cluster, number = np.zeros(shape, np.int64), 0
    while len(left):
        within = np.abs(left - left[0]).max(axis=1) <= reach
        cluster[tuple(left[within].T)] = number
        left, number = left[~within], number + 1
    of_pixel: NDArray[np.int64] = cluster[tuple(levels // BIN)]
    return of_pixel
