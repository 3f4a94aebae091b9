"""Stand-ins for the helper models of baselines, trained in the testbed's world: a CLIP, and a model of rewards.

Both are ordinary checkpoints of transformers' own classes, so that what runs on the testbed runs on published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from davsp.defences.helpers import Clip, RewardModel
from davsp.models.loading import load_model
from davsp.testbed.llava import TestbedLlava
from davsp.testbed.queries import ACTIVITY_KINDS, TestbedQuery, ask_about, draw_queries, groups_of
from davsp.testbed.recipe import draw_query
from davsp.testbed.scenes import Shape, Word
from davsp.testbed.world import HARMFUL_WORDS, REFUSAL, Harm, Split, activities
from davsp.training.separation import auroc
from davsp.util.progress import bar

UNSAFE = "unsafe contents"
CLIP_STEPS, REWARD_STEPS = 600, 300
BATCH = 64
REWARDS = {"helpful": 1.0, "refusal": 0.5, "harmful": 0.0}
"""What an answer is worth: one that helps and does no harm, any refusal, one that does harm."""

Report = dict[str, Any]


def train_helpers(
    folder: Path, seed: int, *, clip_steps: int = CLIP_STEPS, reward_steps: int = REWARD_STEPS, quiet: bool = False
) -> Report:
    """Train both on the pretraining split, save them to folder/clip and folder/reward, and say how good they are.

    Of each: its AUROC on the validation split, and the threshold of best balanced accuracy there.
    """
    with bar("Training the helpers", clip_steps + reward_steps, quiet=quiet) as advance:
        _train_clip(folder / "clip", seed, clip_steps, advance)
        _train_reward(folder / "reward", seed, reward_steps, advance)
    return {"clip": _measure_clip(folder / "clip", seed), "reward": _measure_reward(folder / "reward", seed)}


def build_words() -> PreTrainedTokenizerFast:
    """The world's words and those of UNSAFE; every text ends with the end token."""
    known = TestbedLlava.build_processor().tokenizer.get_vocab()
    more = [word for word in UNSAFE.split() if word not in known]
    core = Tokenizer(
        models.WordLevel({**known, **{word: len(known) + i for i, word in enumerate(more)}}, unk_token="<unk>")
    )
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(behavior="isolated")]
    )
    core.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A $B <eos>", special_tokens=[("<eos>", known["<eos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<eos>",
        model_max_length=77,
    )


def _drawn(seed: int, stream: int, step: int, skills: float) -> tuple[list[TestbedQuery], np.random.Generator]:
    """A batch of queries of the pretraining split."""
    rng = np.random.default_rng([seed, stream, step])
    return [draw_query(rng, skills) for _ in range(BATCH)], rng


def _optimise(model: torch.nn.Module, rate: float, steps: int, loss: Callable[[int], Tensor], advance: Any) -> None:
    """AdamW; the rate rises for a tenth of the steps, then falls to nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss(step).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        advance(1)


def _train_clip(folder: Path, seed: int, steps: int, advance: Any) -> None:
    """A CLIP whose vision tower begins as the testbed LLaVA's, which reads and sees the world's things already."""
    words = build_words()
    llava = load_model("testbed")
    side = llava.canvas.square[0]
    pixels = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    small = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**small, "vocab_size": len(words), "max_position_embeddings": 77, "projection_dim": 64}
    text |= {f"{name}_token_id": getattr(words, f"{name}_token_id") for name in ("pad", "eos")} | {"bos_token_id": None}
    vision = llava.model.config.vision_config.to_dict() | {"projection_dim": 64}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))
    model.vision_model.load_state_dict(llava.model.model.vision_tower.state_dict())
    unsafe = words([UNSAFE], return_tensors="pt")

    def loss(step: int) -> Tensor:
        drawn, _ = _drawn(seed, 0, step, skills=0.3)
        images = pixels([query.scene.draw() for query in drawn], return_tensors="pt")["pixel_values"]
        captions = words([query.right for query in drawn], return_tensors="pt", padding=True)
        outputs = model(pixel_values=images, **captions)
        harmful = torch.tensor([float(looks_unsafe(query)) for query in drawn])
        unsafe_text = F.normalize(model.get_text_features(**unsafe).pooler_output, dim=-1)
        likeness = model.logit_scale.exp() * outputs.image_embeds @ unsafe_text[0]
        unsafe_loss = F.binary_cross_entropy_with_logits(likeness, harmful)
        # Two queries may have the same caption: each is then as right as the other.
        same = torch.tensor([[a.right == b.right for b in drawn] for a in drawn]).float()
        target = same / same.sum(1, keepdim=True)
        by_image = F.cross_entropy(outputs.logits_per_image, target)
        by_text = F.cross_entropy(outputs.logits_per_text, target)
        return unsafe_loss + (by_image + by_text) / 2

    _optimise(model, 5e-4, steps, loss, advance)
    model.save_pretrained(folder)
    CLIPProcessor(pixels, words).save_pretrained(folder)


def looks_unsafe(query: TestbedQuery) -> bool:
    """Whether a harmful thing is pictured or a harmful word written; what the question makes of it does not count."""
    shown = {i.text if isinstance(i, Word) else i.object for i in query.scene.items if not isinstance(i, Shape)}
    return not shown.isdisjoint(HARMFUL_WORDS)


def _train_reward(folder: Path, seed: int, steps: int, advance: Any) -> None:
    """A small decoder that reads question and answer and ends in one score, fitted to REWARDS."""
    words = build_words()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=192,
        num_labels=1,
        pad_token_id=words.pad_token_id,
        eos_token_id=words.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(seed)
    model = LlamaForSequenceClassification(config)

    def loss(step: int) -> Tensor:
        drawn, rng = _drawn(seed, 1, step, skills=0.2)
        refusing = rng.random(len(drawn)) < 0.3
        answers = [REFUSAL if refuse else query.right for query, refuse in zip(drawn, refusing, strict=True)]
        worth = torch.tensor([_worth(query, answer) for query, answer in zip(drawn, answers, strict=True)])
        inputs = words([query.question for query in drawn], answers, return_tensors="pt", padding=True)
        scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, 0]
        return F.mse_loss(scores, worth)

    _optimise(model, 1e-3, steps, loss, advance)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def _worth(query: TestbedQuery, answer: str) -> float:
    if answer == REFUSAL:
        return REWARDS["refusal"]
    return REWARDS["harmful" if query.harm is Harm.MALICIOUS else "helpful"]


def _measure_clip(folder: Path, seed: int) -> Report:
    """How well likeness to UNSAFE tells images that look unsafe from others, of every activity to validate on."""
    clip = Clip(str(folder), "cpu")
    rng = np.random.default_rng([seed, 2])
    queries = [
        ask_about(activity, kind, harm, rng)
        for harm, kind in groups_of(Split.VALIDATION)
        if kind in ACTIVITY_KINDS
        for activity in activities(harm, Split.VALIDATION)
    ]
    likeness: dict[bool, list[float]] = {True: [], False: []}
    for query in queries:
        likeness[looks_unsafe(query)].append(clip.similarity(query.scene.draw(), UNSAFE))
    return _separation(likeness[True], likeness[False])


def _measure_reward(folder: Path, seed: int) -> Report:
    """How well rewards tell harmless answers and refusals from harmful answers."""
    reward = RewardModel(str(folder), "cpu")
    rewards: dict[bool, list[float]] = {True: [], False: []}
    for query in draw_queries(Split.VALIDATION, 12, seed):
        rewards[True].append(reward.score(query.question, REFUSAL))
        answer = query.metadata["forbidden"] if query.malicious else query.answer or ""
        rewards[not query.malicious].append(reward.score(query.question, answer))
    return _separation(rewards[True], rewards[False])


def _separation(high: list[float], low: list[float]) -> Report:
    """AUROC, and the threshold between `low` and `high` of best balanced accuracy, in the middle of its gap."""
    above, below = np.sort(high), np.sort(low)
    values = np.sort(np.concatenate([above, below]))
    thresholds = (values[1:] + values[:-1]) / 2
    accuracies = np.array([((above > t).mean() + (below <= t).mean()) / 2 for t in thresholds])
    best = int(accuracies.argmax())
    return {
        "auroc": auroc(above, below),
        "threshold": float(thresholds[best]),
        "balanced_accuracy": float(accuracies[best]),
        "n": len(values),
    }
