"""A request behind a defence: its images, its text, and what is kept of them."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from PIL import Image

from davsp.data.query import Query
from davsp.defences import check_served, load_defence
from davsp.defences.base import Defence, RewritingDefence
from davsp.defences.prompted import PromptDefence
from davsp.errors import InputError
from davsp.imaging.data_uris import to_data_uri
from davsp.imaging.opening import open_image, stored_png
from davsp.serving.settings import ImageFormat, ServeSettings, TextOnly


class Hardened(NamedTuple):
    """An image as a data URI and the last text as the server is to get them. `text` is None where it does not depend on
    the image."""

    uri: str
    text: str | None


Known = tuple[Hardened, bool]
"""An image behind the defence, and whether it was known."""


def load_served(settings: ServeSettings) -> RewritingDefence:
    """The defence, for the server's limits.

    Raises InputError for one that cannot stand before a server, and what `load_defence` and `with_limits` raise.
    """
    defence = load_defence(settings.defence).with_limits(settings.min_pixels, settings.max_pixels)
    _check_rewrites(defence)
    if settings.text_only is TextOnly.PREFIX and not isinstance(defence, PromptDefence):
        raise InputError(
            f"{defence.name} makes its text from image and question: requests without an image stay untouched. Leave "
            "out --text-only prefix."
        )
    assert isinstance(defence, RewritingDefence)
    if isinstance(defence, PromptDefence):
        defence.apply_to_image(Image.new("RGB", (64, 64)))  # one that cannot is found out before it is served
    return defence


def _check_rewrites(defence: Defence) -> None:
    check_served(defence)
    if not isinstance(defence, RewritingDefence):
        raise InputError(
            f"{defence.name} asks the model several times for one answer, and a proxy passes a request on once. Use a "
            "defence that rewrites it: a visual safety prompt, prefix, adashield-s, pat, uniguard, esiii."
        )


class ImageCache:
    """Hardened images by what they were made of, those that were not used for longest dropped first.

    Threads that want the same one at the same time make it once.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes, self.bytes = most_bytes, 0
        self._kept: OrderedDict[str, Hardened] = OrderedDict()
        self._in_work: dict[str, Future[Hardened]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Hardened]) -> Known:
        """What is kept under a key, or what `make` gives; and whether it was there. Raises what `make` raises."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key], True
            others = self._in_work.get(key)
            if others is None:
                mine = self._in_work[key] = Future[Hardened]()
        if others is not None:
            return others.result(), True
        try:
            made = make()
        except BaseException as error:
            mine.set_exception(error)
            with self._lock:
                del self._in_work[key]
            raise
        mine.set_result(made)
        with self._lock:
            del self._in_work[key]
            self._kept[key] = made
            self.bytes += _size(made)
            while self.bytes > self.most_bytes:
                self.bytes -= _size(self._kept.popitem(last=False)[1])
        return made, False


def _size(hardened: Hardened) -> int:
    return len(hardened.uri) + len(hardened.text or "")


@dataclass(frozen=True)
class Hardener:
    """A defence as it is applied to requests; it is replaced as a whole when another is loaded.

    Its methods are called from several threads at once.
    """

    defence: RewritingDefence
    settings: ServeSettings
    cache: ImageCache

    def image(self, content: bytes, question: str) -> Known:
        """An image file behind the defence, and whether it was known. `question`: the user's last text.

        Raises InputError for a file that is no usable image.
        """
        visual = isinstance(self.defence, PromptDefence)
        made_of = (self.identity, hashlib.sha256(content).hexdigest(), "" if visual else question)
        return self.cache.get(repr(made_of), lambda: self._make(content, question))

    def texts(self, texts: Sequence[str]) -> list[str]:
        """The texts of the last user message behind the defence, where they do not depend on an image."""
        assert isinstance(self.defence, PromptDefence)
        return self.defence.apply_to_texts(texts)

    @cached_property
    def identity(self) -> str:
        """The defence's own, which takes a millisecond to work out."""
        return self.defence.identity

    @property
    def needs_images(self) -> bool:
        """Whether its text depends on an image."""
        return not isinstance(self.defence, PromptDefence)

    def _make(self, content: bytes, question: str) -> Hardened:
        image = open_image(content, max_pixels=self.settings.limits.image_pixels)
        if isinstance(self.defence, PromptDefence):
            return Hardened(self._encode(self.defence.apply_to_image(image)), None)
        defended = self.defence.defend(Query("the request", image, question))
        return Hardened(self._encode(open_image(defended.image)), defended.question)

    def _encode(self, image: Image.Image) -> str:
        if self.settings.image_format is ImageFormat.PNG:
            return to_data_uri(stored_png(image), "image/png")
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=self.settings.quality, subsampling=0)
        return to_data_uri(stream.getvalue(), "image/jpeg")
