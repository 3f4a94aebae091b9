"""What makes an answer right: rules that compare it with a reference answer, and which of them suits a reference."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import regex

from davsp.data.references import alternatives
from davsp.errors import InputError
from davsp.judges.refusal import normalise

SHORT = 10
"""References of at most so many words are looked for in the answer; nobody says longer ones word by word."""
RULES = {
    "auto": "by the reference: one letter as choice, yes or no as yes-no, a number as number, up to "
    f"{SHORT} words as contains, longer ones by grader, where the judge is a language model",
    "exact": "the answer is the reference, but for case, space and punctuation",
    "contains": "the reference stands in the answer, as whole words in this order",
    "number": "the reference's number is among those of the answer, which may be words up to twenty; "
    "number:0.5 allows so much more or less, number:5% such a share of the reference",
    "choice": "the answer chooses the letter of the reference, or says that option of the question",
    "yes-no": "the first yes or no of the answer is the reference's",
    "regex": "the reference is a regular expression (case does not count) that is found in the answer",
    "grader": "a language model says whether the answer means what the reference does (--judge llm)",
}
"""The rules by name, and what each takes for right. <OR> in a reference separates texts that are right each by itself,
<AND> parts that must all be there."""
EXACT, GRADER, AUTO = "exact", "grader", "auto"
REGEX_SECONDS = 1.0

_NUMBER_WORDS = {
    "zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0, "six": 6.0, "seven": 7.0,
    "eight": 8.0, "nine": 9.0, "ten": 10.0, "eleven": 11.0, "twelve": 12.0, "thirteen": 13.0, "fourteen": 14.0,
    "fifteen": 15.0, "sixteen": 16.0, "seventeen": 17.0, "eighteen": 18.0, "nineteen": 19.0, "twenty": 20.0,
}  # fmt: skip
_NUMBER = re.compile(
    r"(?<![\w.])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-+]?\d{1,3})?(?![\w])", re.IGNORECASE
)
_LETTERS = "A-H"
_OPTION = re.compile(rf"(?:^|[\s(])([{_LETTERS}])[.):]\s*(.*?)(?=[,;]?\s+\(?[{_LETTERS}][.):]\s|\n|$)")
_CHOICES = (
    re.compile(  # an "a" before a word is none
        rf"\b(?:answer|option|choice)\b(?:\s+is)?\W*\(?((?!(?-i:a)\s+\w)[{_LETTERS}])\b(?!['\u2019])", re.IGNORECASE
    ),
    re.compile(rf"^\W*([{_LETTERS}])(?:$|[.):,]|\s*[-\u2013]\s)", re.MULTILINE),
    re.compile(rf"\(([{_LETTERS}])\)"),
    re.compile(rf"\b([B-{_LETTERS[-1]}])\b"),  # but A, which is a word
)
_TOLERANCE = re.compile(r"\d{1,9}(?:\.\d{1,9})?%?")


@dataclass(frozen=True)
class Scoring:
    """One rule, ready to compare: `right` takes question, reference and answer. `name` is as it was written."""

    name: str
    right: Callable[[str, str, str], bool]


def scoring_named(name: str) -> Scoring:
    """The rule of that name. Raises InputError for one that there is not."""
    kind, _, setting = name.partition(":")
    if kind == "number" and (not setting or _TOLERANCE.fullmatch(setting)):
        return Scoring(name, _number_within(setting))
    if setting or kind not in _COMPARING:
        raise InputError(f"there is no scoring {name!r}: choose from {', '.join(RULES)}, or number:TOLERANCE.")
    return Scoring(name, _COMPARING[kind])


def check_scoring(name: str, reference: str | None = None) -> None:
    """Raise InputError for a rule that there is not, and for a reference that it cannot use."""
    if name not in (AUTO, GRADER):
        scoring_named(name)
    if reference is None:
        return
    if name == "regex":
        for pattern in _patterns(reference):
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise InputError(f"the reference {pattern!r} is no regular expression: {error}") from error
    if name.startswith("number") and not all(_numbers(part) for parts in alternatives(reference) for part in parts):
        raise InputError(f"the reference {reference!r} is no number, and scored by {name}")
    if name == "choice" and not all(re.fullmatch(f"(?i)[{_LETTERS}]", part[0]) for part in alternatives(reference)):
        raise InputError(f"the reference {reference!r} is none of the letters {_LETTERS}, and scored by choice")


def scoring_for(reference: str, *, graded: bool) -> str | None:
    """The name of the rule that suits a reference, as RULES says of "auto"; None where only a grader could tell.

    `graded`: whether there is a language model that can be asked.
    """
    parts = [part for parts in alternatives(reference) for part in parts]
    if not parts:
        return None
    if all(re.fullmatch(f"[{_LETTERS}]", part) for part in parts):
        return "choice"
    if all(normalise(part) in ("yes", "no") for part in parts):
        return "yes-no"
    if all(_NUMBER.fullmatch(part) for part in parts):
        return "number"
    if all(0 < len(normalise(part).split()) <= SHORT for part in parts):
        return "contains"
    return GRADER if graded else None


def _exact(question: str, reference: str, answer: str) -> bool:  # noqa: ARG001
    text = normalise(answer)
    return any(text == normalise(" ".join(parts)) for parts in alternatives(reference))


def _contains(question: str, reference: str, answer: str) -> bool:  # noqa: ARG001
    text = f" {normalise(answer)} "
    return any(all(f" {normalise(part)} " in text for part in parts) for parts in alternatives(reference))


def _yes_no(question: str, reference: str, answer: str) -> bool:  # noqa: ARG001
    said = re.search(r"\b(yes|no)\b", normalise(answer))
    return said is not None and any(said[0] == normalise(parts[0]) for parts in alternatives(reference))


def _regex(question: str, reference: str, answer: str) -> bool:  # noqa: ARG001
    try:
        return any(
            regex.search(pattern, answer, regex.IGNORECASE, timeout=REGEX_SECONDS) for pattern in _patterns(reference)
        )
    except TimeoutError:
        return False


def _patterns(reference: str) -> list[str]:
    """<AND> has no meaning for expressions."""
    return [" ".join(parts) for parts in alternatives(reference)]


def _number_within(tolerance: str) -> Callable[[str, str, str], bool]:
    relative = tolerance.endswith("%")
    allowed = float(tolerance.rstrip("%") or 0) / (100 if relative else 1)

    def right(question: str, reference: str, answer: str) -> bool:  # noqa: ARG001
        said = _numbers(answer)
        return any(
            all(any(_close(wanted, number) for number in said) for part in parts for wanted in _numbers(part)[:1])
            for parts in alternatives(reference)
        )

    def _close(wanted: float, number: float) -> bool:
        room = allowed * abs(wanted) if relative else allowed
        return math.isclose(wanted, number, rel_tol=1e-9, abs_tol=room + 1e-12)

    return right


def _numbers(text: str) -> list[float]:
    """Numbers in digits (1,234.5 is one) and in words."""
    digits = [float(number.replace(",", "").replace("\u2212", "-")) for number in _NUMBER.findall(text)]
    return digits + [_NUMBER_WORDS[word] for word in normalise(text).split() if word in _NUMBER_WORDS]


def _choice(question: str, reference: str, answer: str) -> bool:
    chosen = _chosen(question, answer.strip())
    return chosen is not None and any(chosen == parts[0].upper() for parts in alternatives(reference))


def _chosen(question: str, answer: str) -> str | None:
    """The letter that an answer chooses: the first that it states as its choice, or that of the only option of the
    question whose text it says; None where it chooses none, or several."""
    for pattern in _CHOICES[:2]:
        if stated := pattern.search(answer):
            return str(stated[1]).upper()
    text = f" {normalise(answer)} "
    options = {letter: normalise(option) for letter, option in _OPTION.findall(question)}
    said = [letter for letter, option in options.items() if option and f" {option} " in text]
    if len(said) == 1:
        return str(said[0])
    for pattern in _CHOICES[2:]:
        letters = {letter.upper() for letter in pattern.findall(answer)}
        if len(letters) == 1:
            return str(letters.pop())
    return None


_COMPARING: dict[str, Callable[[str, str, str], bool]] = {
    EXACT: _exact,
    "contains": _contains,
    "choice": _choice,
    "yes-no": _yes_no,
    "regex": _regex,
}
