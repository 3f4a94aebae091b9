"""What `davsp serve` was told, in a form that its worker processes get as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Mode(StrEnum):
    """What the proxy does with a request."""

    ENFORCE = "enforce"
    """It goes to the server behind the defence, or not at all."""
    OBSERVE = "observe"
    """It goes to the server as it came; a sample goes again behind the defence, and the answers are compared."""


class ImageFormat(StrEnum):
    """How images are sent."""

    PNG = "png"
    """Nothing of the pixels is lost."""
    JPEG = "jpeg"
    """Smaller; the border's pixels change a little."""


class TextOnly(StrEnum):
    """What becomes of requests without an image."""

    UNTOUCHED = "untouched"
    PREFIX = "prefix"
    """They get the defence's text."""


class OtherImages(StrEnum):
    """What becomes of images outside the user's messages: those of tools, of the system, of the assistant."""

    HARDEN = "harden"
    PASS = "pass"  # noqa: S105 - no password
    REFUSE = "refuse"


@dataclass(frozen=True)
class Limits:
    """What one worker process takes. Beyond these a request is refused at once."""

    body_bytes: int = 32 * 2**20
    """Of a request, and of all the images together that it names by URL."""
    images: int = 16
    """In one request."""
    image_pixels: int = 40_000_000
    """Of each image, as its header says."""
    requests: int = 256
    """In work at the same time."""
    hardening: int = 16
    """Of those, requests whose images are being put behind the defence."""
    body_seconds: float = 30.0
    """Until a request has arrived as a whole."""
    url_seconds: float = 10.0
    """Until an image has been fetched."""
    upstream_seconds: float = 600.0
    """Between two pieces of the server's answer."""


@dataclass(frozen=True)
class ServeSettings:
    """All that a worker process needs to know."""

    upstream: str
    """The address of the API that requests go to, such as http://127.0.0.1:8000/v1."""
    defence: str
    """A saved defence's folder, or a defence's name."""
    min_pixels: int | None = None
    max_pixels: int | None = None
    image_format: ImageFormat = ImageFormat.PNG
    quality: int = 95
    """Of JPEG, 1 to 100."""
    text_only: TextOnly = TextOnly.UNTOUCHED
    other_images: OtherImages = OtherImages.HARDEN
    allow_urls: tuple[str, ...] = ()
    """HOST, HOST:PORT or HOST=ADDRESS: from where images may be fetched."""
    mode: Mode = Mode.ENFORCE
    sample: float = 0.1
    """Share of the requests that are compared when observing."""
    limits: Limits = field(default_factory=Limits)
    cache_bytes: int = 256 * 2**20
    """Of hardened images that are kept."""
    threads: int = 1
    """That put images behind the defence."""
    log_content: bool = False
    metrics_folder: str | None = None
    """Where several worker processes share their counts."""
