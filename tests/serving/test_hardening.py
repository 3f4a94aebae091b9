"""What is kept of images, which defences can be served, and what is logged."""

from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from davsp.data.query import Query
from davsp.defences.base import RewritingDefence
from davsp.errors import InputError
from davsp.imaging.data_uris import from_data_uri
from davsp.imaging.opening import open_image, png_bytes
from davsp.serving.answers import answer_text, verdict
from davsp.serving.hardening import Hardened, Hardener, ImageCache, load_served
from davsp.serving.logs import JsonFormatter
from davsp.serving.reloading import signature
from davsp.serving.settings import ImageFormat, Limits, ServeSettings, TextOnly

PNG = png_bytes(Image.effect_noise((60, 40), 80).convert("RGB"))


def settings(defence: str = "prefix", **options: Any) -> ServeSettings:
    return ServeSettings("http://127.0.0.1:1/v1", defence, **options)


def test_what_was_not_used_for_longest_is_dropped_when_the_cache_is_full() -> None:
    cache, made = ImageCache(25), []

    def get(key: str) -> bool:
        return cache.get(key, lambda: made.append(key) or Hardened("x" * 10, None))[1]  # type: ignore[func-returns-value]

    assert [get(key) for key in "abacab"] == [False, False, True, False, True, False]
    assert made == ["a", "b", "c", "b"] and cache.bytes == 20
    assert [ImageCache(0).get("a", lambda: Hardened("x", None))[1] for _ in range(2)] == [False, False]


def test_threads_that_want_the_same_image_make_it_once_and_share_its_failure() -> None:
    cache, made, begin = ImageCache(100), [], threading.Barrier(4)

    def make() -> Hardened:
        made.append(1)
        time.sleep(0.1)
        if len(made) == 1:
            raise InputError("broken")
        return Hardened("x", None)

    def get(_: int) -> str:
        begin.wait()
        try:
            return cache.get("a", make)[0].uri
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(get, range(4))) == ["broken"] * 4
        assert list(pool.map(get, range(4))) == ["x"] * 4
    assert len(made) == 2, "a failure is not kept"


@pytest.mark.parametrize("defence", ["ecso", "transcribe"])
def test_a_defence_that_asks_more_than_once_is_refused_in_one_line(defence: str) -> None:
    with pytest.raises(InputError, match="asks the model several times") as refused:
        load_served(settings(defence))
    assert "\n" not in str(refused.value)


def test_every_image_is_opened_within_the_limit_of_pixels_and_encoded_anew() -> None:
    def make(**options: Any) -> Hardener:
        chosen = settings(**options)
        return Hardener(load_served(chosen), chosen, ImageCache(0))

    uri = make().image(PNG, "q")[0].uri
    assert open_image(from_data_uri(uri)).tobytes() == open_image(PNG).tobytes()
    jpeg = make(image_format=ImageFormat.JPEG, quality=90).image(PNG, "q")[0].uri
    assert jpeg.startswith("data:image/jpeg;base64,/9j/") and open_image(from_data_uri(jpeg)).size == (60, 40)
    with pytest.raises(InputError, match=r"the limit is 0\.002 megapixels"):
        make(limits=Limits(image_pixels=2000)).image(PNG, "q")


def test_a_defence_whose_text_depends_on_the_image_gets_both() -> None:
    class Sees(RewritingDefence):
        kind = name = "sees"
        identity = "1"

        def defend(self, query: Query) -> Query:
            width = open_image(query.image).width
            return Query(query.id, Image.new("RGB", (8, 8)), f"{width} {query.question}")

    hardener = Hardener(Sees(), settings(), ImageCache(10**6))
    (hardened, known), (again, known_again) = hardener.image(PNG, "one"), hardener.image(PNG, "two")
    assert (hardened.text, again.text) == ("60 one", "60 two") and not known and not known_again
    assert hardener.image(PNG, "one")[1] and hardener.needs_images
    assert open_image(from_data_uri(hardened.uri)).size == (8, 8)
    with pytest.raises(InputError, match="requests without an image stay untouched"):
        load_served(settings("adashield-s", text_only=TextOnly.PREFIX))


def test_an_answer_is_read_whole_or_from_a_stream() -> None:
    deltas = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in ("I am ", "sorry, ", "but no.")]
    other = {"choices": [{"index": 1, "delta": {"content": "other"}}]}
    stream = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in [*deltas, other]) + b"data: [DONE]\n\n"
    assert answer_text(stream, is_stream=True) == "I am sorry, but no."
    line_ends = {"choices": [{"index": 0, "delta": {"content": "a\u2028b\x85c"}}]}
    raw = b"data: " + json.dumps(line_ends, ensure_ascii=False).encode() + b"\r\n\r\n"
    assert answer_text(raw, is_stream=True) == "a\u2028b\x85c"
    event = {"type": "response.output_text.delta", "delta": "hi"}
    assert answer_text(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n", is_stream=True) == "hi"
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}
    assert answer_text(json.dumps({"output": [{"type": "reasoning"}, message]}).encode(), is_stream=False) == "hi"
    assert [answer_text(bad, is_stream=False) for bad in (b"", b"[]", b"{}", b'{"choices": []}')] == [""] * 4
    assert [verdict(text) for text in ("I am sorry, but I cannot help with that.", "red", " ", "<think>hm")] == [
        "refused",
        "answered",
        "empty",
        "empty",
    ]


def test_a_line_of_the_log_is_json_whatever_is_in_it() -> None:
    record = logging.LogRecord("davsp", logging.INFO, "", 0, "requ\nest", None, None)
    record.fields = {"request_id": "1\n2", "odd": object()}
    line = JsonFormatter().format(record)
    assert "\n" not in line and json.loads(line)["request_id"] == "1\n2"


def test_a_file_of_a_folder_that_cannot_be_looked_at_hides_no_change_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "no such file")
    (tmp_path / "b").write_text("one")
    before = signature(tmp_path)
    (tmp_path / "b").write_text("another")
    assert signature(tmp_path) != before
