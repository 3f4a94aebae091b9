"""Opening images: every kind users have, and every bad one refused with a reason."""

import io
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from davsp.errors import InputError
from davsp.imaging import opening as images
from davsp.imaging.opening import open_image, stored_png


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds almost no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animated(file_format: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    return encoded(frames[0], file_format, save_all=True, append_images=frames[1:])


RED = Image.new("RGB", (6, 4), "red")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_each_format_gives_rgb(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "image.bin"
    path.write_bytes(encoded(RED, file_format))
    opened = open_image(path)
    assert (opened.mode, opened.size) == ("RGB", (6, 4))
    assert np.abs(np.asarray(opened).astype(int) - (255, 0, 0)).max() <= 6


def test_rgb_pixels_are_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(open_image(encoded(Image.fromarray(pixels)))), pixels)


def test_transparent_pixels_become_white_and_half_transparent_ones_are_mixed() -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (200, 0, 0, alpha))
    opened = np.asarray(open_image(encoded(image)))[0]
    assert opened[0].tolist() == [255, 255, 255]
    assert np.abs(opened[1].astype(int) - [227, 127, 127]).max() <= 1
    assert opened[2].tolist() == [200, 0, 0]


def test_grey_with_alpha_is_laid_on_white() -> None:
    assert open_image(encoded(Image.new("LA", (2, 2), (0, 0)))).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_palette_with_transparency_is_laid_on_white(file_format: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    opened = open_image(encoded(image, file_format, transparency=0))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (200, 100, 50)]


@pytest.mark.parametrize(
    ("mode", "file_format", "colour", "expected"),
    [
        ("L", "PNG", 77, (77, 77, 77)),
        ("1", "PNG", 1, (255, 255, 255)),
        ("P", "PNG", 0, (0, 0, 0)),
        ("CMYK", "TIFF", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", "PNG", 65535, (255, 255, 255)),
        ("I;16", "PNG", 40000, (156, 156, 156)),
        ("I;16", "TIFF", 300, (1, 1, 1)),
        ("I;16B", "TIFF", 40000, (156, 156, 156)),
    ],
)
def test_other_modes_keep_their_colour(
    mode: str, file_format: str, colour: int | tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    image = Image.new(mode, (3, 2), colour)
    assert open_image(encoded(image, file_format)).getpixel((1, 1)) == expected


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    opened = open_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(np.array(opened.getpixel((8, 8))) - (255, 0, 0)).max() <= 8


@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (5, 3)), (6, (3, 0)), (8, (0, 5))])
def test_exif_rotation_turns_the_image_upright(orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (6, 4), "white")
    image.putpixel((0, 0), (0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert open_image(encoded(image, exif=exif)).getpixel(corner) == (0, 0, 0)


def test_one_pixel_is_an_image() -> None:
    assert open_image(encoded(Image.new("RGB", (1, 1), "blue"))).getpixel((0, 0)) == (0, 0, 255)


def test_an_opened_image_is_accepted_and_left_as_it_is() -> None:
    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    assert open_image(image).mode == "RGB"
    assert image.mode == "RGBA"


def test_a_phone_photo_with_several_views_gives_the_first() -> None:
    content = encoded(RED, "MPO", save_all=True, append_images=[Image.new("RGB", (6, 4), "blue")])
    assert np.asarray(open_image(content))[2, 2, 0] > 240


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused_with_the_advice_to_extract_one(file_format: str) -> None:
    with pytest.raises(InputError, match="cat has several frames"):
        open_image(animated(file_format), what="cat")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"hello, I am no image", "is not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "is not an image"),
        (encoded(RED, "ICO"), "is not an image"),
        (encoded(Image.effect_noise((64, 64), 90))[:900], "damaged or cut off"),
        (encoded(Image.effect_noise((64, 64), 90), "JPEG")[:900], "damaged or cut off"),
        (encoded(RED)[:20], "is not an image|damaged"),
        (encoded(Image.new("F", (2, 2)), "TIFF"), "32-bit"),
    ],
    ids=["empty", "text", "svg", "pdf", "ico", "cut png", "cut jpeg", "cut header", "float"],
)
def test_bad_content_is_refused_and_the_file_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        open_image(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        open_image(tmp_path / "gone.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a file"):
        open_image(tmp_path)


def test_a_device_is_refused_and_not_read() -> None:
    with pytest.raises(InputError, match="is not a file"):
        open_image(Path("/dev/zero"))


def test_a_path_longer_than_the_system_allows_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        open_image(Path("x" * 5000))


def test_bytes_are_named_by_what() -> None:
    with pytest.raises(InputError, match=r"^the image of query 7 is empty"):
        open_image(b"", what="the image of query 7")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000), (12_000, 8_000)])
def test_a_decompression_bomb_is_refused_at_once_and_without_warnings(size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"bomb is too large.* 80 megapixels") as caught:
            open_image(png_header(*size), what="bomb")
    assert str(size[0] * size[1]) in str(caught.value) or f"{size[0]} x {size[1]}" in str(caught.value)


def test_a_file_over_the_byte_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 2**20)
    path = tmp_path / "big.png"
    with path.open("wb") as stream:
        stream.truncate(2**20 + 1)
    for source in (path, path.read_bytes()):
        with pytest.raises(InputError, match="larger than 1 MiB"):
            open_image(source)


def test_opening_changes_no_global_state_even_from_many_threads() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    before = (list(warnings.filters), Image.MAX_IMAGE_PIXELS)
    content = encoded(RED)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: open_image(content), range(200)))
    sys.setswitchinterval(interval)
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("characters", [2_000_000, 5_000_000])
def test_a_png_with_a_long_text_is_read_and_its_pixels_are_its_own(compressed: bool, characters: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "x" * characters, zip=compressed)
    content = encoded(Image.fromarray(pixels), pnginfo=info)
    assert np.array_equal(np.asarray(open_image(content)), pixels)
    with pytest.raises(InputError, match="damaged or cut off"):
        open_image(content[: content.index(b"IDAT") + 8])


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 200)])
def test_a_png_that_is_not_compressed_holds_the_same_pixels(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 90).convert("RGB")
    content = stored_png(image)
    assert open_image(content).tobytes() == image.tobytes() and Image.open(io.BytesIO(content)).size == size
    with Image.open(io.BytesIO(content)) as strict:
        strict.verify()
