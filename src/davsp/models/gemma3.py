"""Gemma 3, without its optional crops ("pan and scan")."""

from __future__ import annotations

from torch import Tensor

from davsp.models.llava import Llava


class Gemma3(Llava):
    """One square image of fixed size, whose tokens attend to each other in both directions."""

    family = "gemma3"

    @property
    def image_in_text(self) -> str:
        return self.image_token

    def token_inputs(self, ids: Tensor, prompt: Tensor, packed: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        return {"token_type_ids": (ids == self.model.config.image_token_id).long()}
