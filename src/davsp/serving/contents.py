"""Where the images and the user's last text are in a request of OpenAI's API.

Only what is understood is passed. A part, or a field, that may bring an image past the defence, or have the server
change one, is refused: what the server makes of it is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from davsp.serving.refused import bad_request
from davsp.serving.settings import Limits

Json = dict[str, Any]

TEXT_PARTS = ("text", "input_text", "output_text")
IMAGE_PARTS = ("image_url", "input_image")
HARMLESS_PARTS = ("refusal", "input_audio", "thinking", "reasoning", "summary_text", "reasoning_text")
_PART_FIELDS = {"type", "image_url", "detail", "cache_control"}
_URL_FIELDS = {"url", "detail"}
_SCREENSHOT = "computer_screenshot"
_REFERENCE = "item_reference"
PLAIN_ITEMS = (
    *("function_call", "custom_tool_call", "reasoning", _REFERENCE, "mcp_list_tools", "mcp_approval_request"),
    *("mcp_approval_response", "mcp_call", "web_search_call", "file_search_call"),
)
"""Items of /v1/responses that hold no image."""
_KEPT_BY_THE_SERVER = ("previous_response_id", "conversation", "prompt")
"""Fields of a request to /v1/responses that name what the server keeps."""
TOOL_OUTPUTS = ("function_call_output", "custom_tool_call_output", "computer_call_output")

MEDIA_TYPES = {
    *("image", "image_pil", "image_embeds", "video", "video_url", "input_video", "file", "input_file"),
    *IMAGE_PARTS,
    _SCREENSHOT,
}
MEDIA_FIELDS = {
    *("image", "images", "image_url", "image_urls", "image_data", "image_embeds", "image_pil", "input_image"),
    *("video", "videos", "video_url", "video_data", "multi_modal_data", "prompt_embeds"),
}
"""Fields by which one server or another takes images."""
ALTERING_FIELDS = ("mm_processor_kwargs", "media_io_kwargs", "chat_template", "truncate_prompt_tokens")
"""Fields by which a client could have images resampled, or the defence's text left out."""
_SCHEMAS = ("tools", "functions", "response_format", "text", "metadata", "tool_choice")
"""Fields of a request with names that users choose: no server looks for images there."""


@dataclass
class ImageSlot:
    """A place in a request that holds an image, by its data URI or URL."""

    holder: Json
    key: str
    from_user: bool
    where: str

    @property
    def url(self) -> str:
        return str(self.holder[self.key])

    def fill(self, uri: str) -> None:
        """Put another image there."""
        self.holder[self.key] = uri


@dataclass
class TextSlot:
    """The text of one user message, which is its holder's value under `key`: a text, or parts, of which `parts` are
    those of text."""

    holder: Json
    key: str
    text_type: str
    parts: list[Json] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it, a line for each part."""
        return "\n".join(self.texts)

    @property
    def texts(self) -> list[str]:
        """Its parts of text."""
        content = self.holder[self.key]
        return [content] if isinstance(content, str) else [part["text"] for part in self.parts]

    def fill(self, texts: Sequence[str]) -> None:
        """Put others in their places: as many, or fewer; or one where there was none, after all else."""
        content = self.holder[self.key]
        if isinstance(content, str):
            [self.holder[self.key]] = texts
            return
        for part, text in zip(self.parts, texts, strict=False):
            part["text"] = text
        dropped = [id(part) for part in self.parts[len(texts) :]]
        added = [{"type": self.text_type, "text": text} for text in texts[len(self.parts) :]]
        self.holder[self.key] = [part for part in content if id(part) not in dropped] + added


@dataclass
class Contents:
    """What a request holds: its images in their order, and the text of the last user message, if there is one."""

    images: list[ImageSlot] = field(default_factory=list)
    last: TextSlot | None = None
    goes_on: bool = False
    """Whether it goes on with what the server keeps, a conversation or a part of one, which may hold images."""


def read_chat(body: Json) -> Contents:
    """What a request to /v1/chat/completions holds. Raises RequestRefused for what is not understood."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise bad_request("messages is no list: give the conversation as OpenAI's API has it.", "invalid_messages")
    found = Contents()
    for number, message in enumerate(messages):
        _read_message(found, message, f"messages[{number}]", "text")
    _check_rest(body, {"messages"})
    return found


def read_responses(body: Json) -> Contents:
    """What a request to /v1/responses holds. Raises RequestRefused for what is not understood."""
    found = Contents(goes_on=any(body.get(name) is not None for name in _KEPT_BY_THE_SERVER))
    given = body.get("input")
    if isinstance(given, str):
        found.last = TextSlot(body, "input", "input_text")
    elif not (given is None or isinstance(given, list)):
        raise bad_request("input is neither a text nor a list.", "invalid_input")
    for number, item in enumerate(given if isinstance(given, list) else []):
        where = f"input[{number}]"
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "message":
            _read_message(found, item, where, "input_text")
        elif kind in TOOL_OUTPUTS:
            _read_output(found, item, where)
        elif kind in PLAIN_ITEMS:
            _check_rest(item, set(), f"{where}.")
            found.goes_on |= kind == _REFERENCE
        else:
            raise _not_understood(kind, where)
    _check_rest(body, {"input"})
    return found


def check_number(contents: Contents, limits: Limits) -> None:
    """Raise RequestRefused for more images than a request may have."""
    if len(contents.images) > limits.images:
        raise bad_request(
            f"a request may have {limits.images} images here, and this one has {len(contents.images)}.",
            "too_many_images",
        )


def read_completions(body: Json) -> Contents:
    """What a request to /v1/completions holds: texts alone. Raises RequestRefused where an image may be."""
    _check_rest(body, set())
    return Contents()


def _read_message(found: Contents, message: Any, where: str, text_type: str) -> None:
    if not isinstance(message, dict):
        raise bad_request(f"{where} is no message.", "invalid_messages", where)
    from_user = message.get("role") == "user"
    parts = list(_read_parts(found, message.get("content"), f"{where}.content", from_user))
    if from_user and message.get("content") is not None:
        found.last = TextSlot(message, "content", text_type, parts)
    _check_rest(message, {"content", "tool_calls", "function_call"}, f"{where}.")


def _read_output(found: Contents, item: Json, where: str) -> None:
    """The output of a tool: a text, parts, or a picture of a screen."""
    output = item.get("output")
    if isinstance(output, dict) and output.get("type") == _SCREENSHOT:
        found.images.append(_slot(output, "image_url", False, f"{where}.output", {"type", "image_url", "detail"}))
    else:
        list(_read_parts(found, output, f"{where}.output", False))
    _check_rest(item, {"output"}, f"{where}.")


def _read_parts(found: Contents, content: Any, where: str, from_user: bool) -> Iterator[Json]:
    """Note the images of a content, and give its text parts."""
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise bad_request(f"{where} is neither a text nor a list of parts.", "invalid_content", where)
    for number, part in enumerate(content):
        here = f"{where}[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in TEXT_PARTS and isinstance(part.get("text"), str):
            _check_rest(part, {"text"}, f"{here}.")
            yield part
        elif kind in IMAGE_PARTS:
            found.images.append(_image(part, from_user, here))
        elif kind in HARMLESS_PARTS:
            _check_rest(part, set(), f"{here}.")
        else:
            raise _not_understood(kind, here)


def _image(part: Json, from_user: bool, where: str) -> ImageSlot:
    if not isinstance(part.get("image_url"), dict):
        return _slot(part, "image_url", from_user, where, _PART_FIELDS)
    _check_fields(part, _PART_FIELDS, where)
    return _slot(part["image_url"], "url", from_user, f"{where}.image_url", _URL_FIELDS)


def _slot(holder: Json, key: str, from_user: bool, where: str, fields: set[str]) -> ImageSlot:
    _check_fields(holder, fields, where)
    if not isinstance(holder.get(key), str):
        raise bad_request(f"{where} has no {key}: give the image as a data URI.", "invalid_image", where)
    return ImageSlot(holder, key, from_user, where)


def _check_fields(part: Json, known: set[str], where: str) -> None:
    if unknown := sorted(part.keys() - known):
        raise bad_request(
            f"{where}: an image with the field {unknown[0]!r} is not passed on, for the server might take another one "
            f"by it. Use {', '.join(sorted(known))}.",
            "unsupported_image",
            where,
        )


def _check_rest(holder: Json, read: set[str], where: str = "") -> None:
    """Raise RequestRefused where what was not read may hold an image, or change one."""
    rest = {key: value for key, value in holder.items() if key not in read and key not in _SCHEMAS}
    pending: list[tuple[str, Any]] = [(where.rstrip("."), rest)]
    while pending:  # no recursion: the JSON may be nested deeply
        here, value = pending.pop()
        if isinstance(value, list):
            pending += [(f"{here}[{number}]", one) for number, one in enumerate(value)]
        elif isinstance(value, dict):
            kind = value.get("type")
            if isinstance(kind, str) and kind in MEDIA_TYPES:
                raise _not_understood(kind, here)
            for key, one in value.items():
                path = f"{here}.{key}".lstrip(".")
                if key in ALTERING_FIELDS and one is not None:
                    raise bad_request(
                        f"{path} is not passed on: it may change images, or leave the defence's text out.",
                        "unsupported_field",
                        path,
                    )
                if key in MEDIA_FIELDS and one is not None:
                    raise _not_understood(key, path)
                pending.append((path, one))


def _not_understood(kind: Any, where: str) -> Exception:
    return bad_request(
        f"{where}: {kind!r} is not passed on, for the proxy cannot put it behind the defence. Give images as parts of "
        "the type image_url or input_image, by data URI, and text as text.",
        "unsupported_content",
        where,
    )
