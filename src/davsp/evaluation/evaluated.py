"""The models that an evaluation asks: one that is loaded here, or any of Inspect's, on a server or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, Model, ModelInfo, set_model_info
from inspect_ai.solver import Solver

from davsp.data.query import Query
from davsp.defences.base import Defence
from davsp.evaluation import served
from davsp.evaluation.batching import LocalModel
from davsp.evaluation.media import to_sample, to_text_sample
from davsp.evaluation.opened import OpenedQueries
from davsp.evaluation.provider import DavspAPI
from davsp.evaluation.registry import davsp
from davsp.evaluation.served import ServerConnection
from davsp.evaluation.solver import behind, behind_in_batches
from davsp.models.base import VisionLanguageModel
from davsp.models.hardware import hardware_of
from davsp.models.served import inspect_model


@dataclass(frozen=True)
class Session:
    """What Inspect needs to ask a model behind one defence."""

    model: Model
    solver: Solver
    samples: list[Sample]
    connection: ServerConnection = field(default_factory=ServerConnection)


class EvaluatedModel(ABC):
    """A model that all defences of an evaluation are asked with, about the same queries."""

    name: str
    identity: str
    """All that its answers depend on, as far as that is known: of a model on a server, its name."""
    device: str | None = None
    """Where a loaded model is; None of one on a server."""
    dtype: str | None = None
    """The types of a loaded model's weights."""
    log_buffer: ClassVar[int]
    """So many answers are written to the log at a time: a killed process loses no more."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was out of the ordinary in how it answered."""
        return ()

    @abstractmethod
    def session(self, defence: Defence, queries: Sequence[Query]) -> Session:
        """What asks about some of the queries behind a defence."""


class LoadedModel(EvaluatedModel):
    """A model in this process: it is handed images as they are, and answers in batches.

    Raises InputError for an image, given as bytes or picture, that is not usable.
    """

    log_buffer = 100

    def __init__(
        self,
        model: LocalModel,
        queries: Sequence[Query],
        batch_size: int,
        max_new_tokens: int,
        thinking_tokens: int = 0,
    ) -> None:
        self.name, self.identity = model.name, model.identity
        if isinstance(model, VisionLanguageModel):  # and no stand-in that answers otherwise
            self.device, self.dtype = hardware_of(model.model, model.device)
        self._model, self._batch_size = model, batch_size
        self._max_new_tokens, self._thinking_tokens = max_new_tokens + thinking_tokens, thinking_tokens
        self._queries = OpenedQueries(queries)

    def session(self, defence: Defence, queries: Sequence[Query]) -> Session:
        # Inspect's decorator turns the class into a factory of registered models.
        create = cast(Callable[..., DavspAPI], davsp)
        api = create(self.name, local_model=self._model, batch_size=self._batch_size)
        model = Model(api, GenerateConfig(), {"batch_size": self._batch_size})
        set_model_info(str(model), ModelInfo())  # else Inspect loads the model once more, to ask it about itself
        solver = behind_in_batches(defence, self._queries, api.batcher, self._max_new_tokens, self._thinking_tokens)
        return Session(model, solver, [to_text_sample(query) for query in queries])


class InspectModel(EvaluatedModel):
    """A model by Inspect's name for it, or by URL=NAME: it is sent images as data URIs.

    Raises InputError where it cannot be had.
    """

    log_buffer = 10

    def __init__(self, name: str, batch_size: int, thinking_tokens: int = 0) -> None:
        self.name = self.identity = name
        self._thinking_tokens = thinking_tokens
        config = GenerateConfig(max_connections=batch_size, max_retries=served.RETRIES, timeout=served.TIMEOUT)
        self._model = inspect_model(name, config)

    def session(self, defence: Defence, queries: Sequence[Query]) -> Session:
        connection = ServerConnection()
        solver = behind(defence, connection, self._thinking_tokens)
        return Session(self._model, solver, [to_sample(query) for query in queries], connection)

    @property
    def remarks(self) -> tuple[str, ...]:
        if "temperature" not in getattr(self._model.api, "left_out", ()):
            return ()
        return (f"{self.name} takes no temperature: its answers are sampled, and differ from run to run.",)
