"""PaliGemma 1 and 2."""

from __future__ import annotations

from torch import Tensor

from davsp.models.llava import Llava


class PaliGemma(Llava):
    """One square image of fixed size; the tokens of a prompt attend to each other in both directions."""

    family = "paligemma"
    default_chat_template = (
        "{% set images = messages[0]['content'] | selectattr('type', 'equalto', 'image') | list %}"
        "{% for image in images %}<image>{% endfor %}{% if images %}{{ bos_token }}{% endif %}"
        "{% for part in messages[0]['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{{ '\\n' }}"
    )
    """Published checkpoints bring no template: this is how their processor puts a question."""

    @property
    def image_in_text(self) -> str:
        return f"{self.image_token}{self.tokenizer.bos_token}"

    def token_inputs(self, ids: Tensor, prompt: Tensor, packed: dict[str, Tensor]) -> dict[str, Tensor]:  # noqa: ARG002
        return {"token_type_ids": (~prompt).long()}
