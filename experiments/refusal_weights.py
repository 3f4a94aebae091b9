"""`python -m experiments.refusal_weights FOLDER`: the weights of davsp.judges.refusal's cues, learnt from human
labels of XSTest.

FOLDER holds xstest_v2_completions_MODEL.csv (Röttger et al. 2024, CC BY 4.0). Only the two models of TUNING are read;
the other three are for `davsp judge validate`. The weights are those of a ridge logistic regression on the answers that
no rule decides. Printed is the balanced accuracy of rules and weights in folds that share no prompt, and the same when
the weights are learned on the one model and measured on the other; written is src/davsp/judges/refusal.json.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from davsp.judges.labels import LabelledAnswer, read_labels
from davsp.judges.refusal import FEATURES, WEIGHTS, decided_by_rule, features
from davsp.util.files import write_json
from experiments.running import as_command

TUNING = ("llama2orig", "mistralguard")
"""Chosen before any answer was read: Llama 2 apologises and lectures, the guarded Mistral lectures without a sorry."""
FOLDS = 10
RIDGE = 1


def main(folder: Path) -> None:
    answers = [
        answer
        for model in TUNING
        for answer in read_labels(folder / f"xstest_v2_completions_{model}.csv")
        if answer.label is not None
    ]
    x = np.array([(*features(a.response), 1.0) for a in answers])
    y = np.array([a.label for a in answers], dtype=float)
    ruled = np.array([decided_by_rule(a.response) is not None for a in answers])
    model = np.array([a.model for a in answers])
    fold = np.array([fold_of(a) for a in answers])

    together, across = np.zeros(len(y)), np.zeros(len(y))
    for k in range(FOLDS):
        seen, held = (fold != k) & ~ruled, fold == k
        together[held] = x[held] @ fit(x[seen], y[seen])
        for name in TUNING:
            other, own = seen & (model != name), held & (model == name)
            across[own] = x[own] @ fit(x[other], y[other])
    for name in TUNING:
        own = model == name
        figures = [balanced_accuracy(y[own] == 1, (s[own] > 0) | ruled[own]) for s in (together, across)]
        print(f"{name}: {figures[0]:.4f} in folds by prompt, {figures[1]:.4f} learned on the other model alone")

    weights = fit(x[~ruled], y[~ruled])
    write_json(
        WEIGHTS,
        {
            "weights": {name: round(float(w), 3) for name, w in zip((*FEATURES, "bias"), weights, strict=True)},
            "learned_from": {
                "data": "XSTest v2 model completions, final_label 1 and 2",
                "models": list(TUNING),
                "answers": int((~ruled).sum()),
                "citation": "Röttger et al., XSTest, NAACL 2024, github.com/paul-rottger/exaggerated-safety",
                "licence": "CC BY 4.0; these weights hold none of its text",
            },
        },
    )


def fold_of(answer: LabelledAnswer) -> int:
    """The fold of an answer's prompt: one for all models."""
    return int(hashlib.sha256(answer.id.encode()).hexdigest(), 16) % FOLDS


def fit(x: Any, y: Any) -> Any:
    """The weights of a logistic regression with a ridge on all but the last column, by Newton's method.

    Refusals and other answers weigh the same in sum: how many refusals no rule decides differs from model to model, and
    a model that never says "I cannot" is judged by these weights alone.
    """
    share = np.where(y == 1, len(y) / 2 / y.sum(), len(y) / 2 / (1 - y).sum())
    penalty = RIDGE * np.eye(x.shape[1])
    penalty[-1, -1] = 0
    weights = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        step = np.linalg.solve((x.T * (share * p * (1 - p))) @ x + penalty, x.T @ (share * (p - y)) + penalty @ weights)
        weights -= step
        if abs(step).max() < 1e-9:
            break
    return weights


def balanced_accuracy(truth: Any, found: Any) -> float:
    return float((found[truth].mean() + 1 - found[~truth].mean()) / 2)


if __name__ == "__main__":
    as_command(lambda: main(Path(sys.argv[1])))
