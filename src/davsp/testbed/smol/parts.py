"""The trained parts of the LLaVA that reads English, which the package davsp-testbed-smol holds: where they are."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import davsp
from davsp.errors import InputError, ModelError
from davsp.util.files import sha256

PACKAGE = "davsp-testbed-smol"
_MODULE = PACKAGE.replace("-", "_")
_IN_CHECKOUT = Path(davsp.__file__).parents[2] / "packages" / PACKAGE / _MODULE
TOWER = "tower.safetensors"
"""Vision tower and projector, under the names that they have within a LlavaModel."""
LORA = "lora.safetensors"
"""Of rank 16, for the decoder's matrices."""
PARTS = {
    TOWER: "5b161f922825bb32d08cf964079e3b9983f46a6b39719b2545f144a9cbef34f8",
    LORA: "98a0b9d9259b4976e65003e5c3c636a703f58313e6b89dbb51b6f11c1cf6eb30",
}
"""The files of version 1, and the SHA-256 of each."""


def find_parts(folder: Path | None = None) -> Path:
    """The folder of the parts: the one that is named, or that of the installed package or of the checkout.

    Raises ModelError where there is none, InputError for files that are not those of this version.
    """
    found = folder or next((each for each in _folders() if each.is_dir()), None)
    if found is None:
        raise ModelError(
            f"the trained parts are not installed: run pip install ./packages/{PACKAGE} in a checkout of davsp, or "
            "name their folder with --parts."
        )
    for name, digest in PARTS.items():
        if not (found / name).is_file():
            raise InputError(f"{found} holds no {name}: name the folder of the trained parts with --parts.")
        if sha256(found / name) != digest:
            raise InputError(
                f"{found / name} is not the file of this version (its SHA-256 is another): copy or download it again."
            )
    return found


def _folders() -> Iterator[Path]:
    installed = find_spec(_MODULE)
    yield from map(Path, (installed and installed.submodule_search_locations) or [])
    yield _IN_CHECKOUT
