"""What a checkpoint is by its content: digests of its weights and of its settings, whatever it is called."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from davsp.errors import ModelError
from davsp.util.files import parse_json

BLOCK = 512
BLOCKS = 16
"""Of every tensor so many blocks of so many bytes are read, evenly spread from its first to its last byte: whatever
changes a matrix as a whole (training, a merged adapter, another precision on disk) changes them."""
FILE_BLOCKS = 4096
"""As many of a weight file that does not say where its tensors are."""
MOST_HEADER = 256 * 2**20
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_SETTINGS = (
    *("config.json", "generation_config.json", "*processor_config.json", "adapter_config.json"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.tiktoken", "*.model"),
    *("chat_template*", "additional_chat_templates/*"),
)


@dataclass(frozen=True)
class CheckpointDigest:
    """Hex digests: `weights` of every tensor's name, type, shape and sampled bytes; `settings` of the files that say
    how they are used (configuration, processor, tokenizer, chat template, generation)."""

    weights: str
    settings: str


def checkpoint_folder(source: str, revision: str | None = None) -> Path:
    """The folder of a local checkpoint, or of one of the hub in the local cache.

    Raises ModelError where there is none.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(source, revision=revision, local_files_only=True))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise ModelError(f"the files of {source!r} are not in the local cache: load it again.") from error


def digest_checkpoint(*folders: Path) -> CheckpointDigest:
    """The digests of a checkpoint that lies in one folder, or in several (a base model and its adapter).

    Reads a few kilobytes of each tensor, not all weights. Raises ModelError for a weight file that is damaged.
    """
    weights, settings = hashlib.sha256(), hashlib.sha256()
    for folder in folders:
        parts: list[tuple[str, bytes]] = []
        for path in _matching(folder, _WEIGHTS):
            try:
                with path.open("rb") as stream:
                    parts += _parts(stream, path)
            except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
                raise ModelError(f"{path} is damaged ({error}): copy or download it again.") from error
        for name, content in sorted(parts):  # in whatever order, and in how many files, they were saved
            weights.update(f"{name}\0".encode() + content)
        for path in _matching(folder, _SETTINGS):
            if not path.name.endswith(".index.json"):
                settings.update(f"{path.relative_to(folder)}\0".encode())
                settings.update(hashlib.sha256(path.read_bytes()).digest())
    return CheckpointDigest(weights.hexdigest(), settings.hexdigest())


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def _parts(stream: BinaryIO, path: Path) -> Iterator[tuple[str, bytes]]:
    """Name, type and shape of each tensor of a weight file, and a digest of its sampled bytes."""
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        yield f"{path.name} {size}", _spread(stream, 0, size, FILE_BLOCKS)
        return
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > min(size, MOST_HEADER):
        raise ValueError("its header is longer than the file")
    header = parse_json(stream.read(length))
    for name in set(header) - {"__metadata__"}:
        tensor = header[name]
        begin, end = tensor["data_offsets"]
        yield f"{name} {tensor['dtype']} {tensor['shape']}", _spread(stream, 8 + length + begin, end - begin, BLOCKS)


def _spread(stream: BinaryIO, start: int, size: int, blocks: int) -> bytes:
    """A digest of `blocks` blocks of a span of a file, evenly spread; of all of it where that is no more."""
    whole = size <= blocks * BLOCK
    places = [0] if whole else [i * (size - BLOCK) // (blocks - 1) for i in range(blocks)]
    sampled = hashlib.sha256()
    for place in places:
        stream.seek(start + place)
        sampled.update(stream.read(size if whole else BLOCK))
    return sampled.digest()
