"""A prompt in code that already uses transformers: two lines before the pipeline is called."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from transformers import pipeline

import davsp
from davsp.models.shipped import SHIPPED


def main(prompt: str = "runs/example", model: str | None = None) -> str:
    answer = pipeline("image-text-to-text", model=model or str(SHIPPED["testbed"].folder))
    image, question = Image.new("RGB", (224, 224), "white"), "what does the text say ?"

    defence = davsp.VisualSafetyPrompt.from_pretrained(prompt)  # a folder, or an id on the hub
    image, question = defence.protect(image, question)

    content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    said = answer(text=[{"role": "user", "content": content}], max_new_tokens=24, return_full_text=False)
    print(said[0]["generated_text"])
    return str(said[0]["generated_text"])


if __name__ == "__main__":
    if not Path("runs/example").is_dir():
        raise SystemExit("Run examples/harden_and_ask.py first: it trains the prompt that is used here.")
    main()
