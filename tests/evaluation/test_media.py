"""Queries and images as Inspect carries them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from davsp.errors import InputError
from davsp.imaging.data_uris import png_uri

pytest.importorskip("inspect_ai")

from davsp.evaluation.media import decode_image, to_sample, to_text_sample
from tests.evaluation.fakes import QUERIES, RED


def test_images_survive_the_way_through_inspect_unchanged() -> None:
    noise = Image.effect_noise((31, 17), 80).convert("RGB")
    assert decode_image(png_uri(noise)).tobytes() == noise.tobytes()


def test_the_files_of_queries_are_embedded_as_they_are_where_models_take_them() -> None:
    for kind, embedded in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("BMP", "image/png")):
        stream = io.BytesIO()
        RED.save(stream, kind)
        sample = to_sample(QUERIES[0].with_image(stream.getvalue()))
        uri = sample.input[0].content[0].image  # type: ignore[union-attr]
        assert uri.startswith(f"data:{embedded};base64,")
        assert decode_image(uri).size == RED.size
        assert (base64.b64decode(uri.partition(",")[2]) == stream.getvalue()) == (kind != "BMP")
    with pytest.raises(InputError, match="query m1: the image is not an image"):
        to_sample(QUERIES[0].with_image(b"text"))


@pytest.mark.parametrize("uri", ["https://example.org/a.png", "/etc/passwd", "data:image/png;base64,@@@@"])
def test_only_images_given_inline_are_decoded(uri: str) -> None:
    with pytest.raises(InputError):
        decode_image(uri)


def test_a_sample_without_its_image_has_all_that_scorers_and_readers_of_logs_need(tmp_path: Path) -> None:
    sample = to_text_sample(QUERIES[0].with_image(tmp_path / "red.png"))
    whole = to_sample(QUERIES[0])
    assert (sample.id, sample.input, sample.target) == (whole.id, QUERIES[0].question, whole.target)
    assert sample.metadata == (whole.metadata or {}) | {"image_file": str(tmp_path / "red.png")}
    assert to_text_sample(QUERIES[0]).metadata == whole.metadata
