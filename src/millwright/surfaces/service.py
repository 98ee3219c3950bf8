"""What the routes share: engine, journal, metrics, and the versions that should be loaded."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from millwright.errors import BadInput, CannotStore, QueueFull, TooLarge, Trouble, loggable
from millwright.feedback import SAYS, check_opinion, check_prediction, is_asked
from millwright.machine import cores
from millwright.modalities.places import Round
from millwright.modalities.spans import write_spans
from millwright.modalities.text import clean
from millwright.opinions.keys import kept_under_key
from millwright.opinions.surveys import Survey, asked_with, next_survey
from millwright.privacy.mask import masker, read_in
from millwright.privacy.sealed import owner_of
from millwright.privacy.vault import forget_vault, keep_vault
from millwright.privacy.vault_tokens import VaultToken
from millwright.project import Project
from millwright.records import Failure, Opinion, Prediction
from millwright.registry.traffic import Traffic, current_traffic
from millwright.registry.versions import CHALLENGER, CHAMPION, list_versions
from millwright.runner.lead import Leading
from millwright.serve.engine import Answering, Engine, Limits
from millwright.serve.exposure import Exposure, expose
from millwright.serve.garbage import set_aside, take_back
from millwright.serve.ids import new_id
from millwright.serve.journal import Journal
from millwright.settings import SPANS, ServeSection
from millwright.store.database import now
from millwright.surfaces.hangup import HungUp
from millwright.surfaces.messages import (
    FeedbackAnswer,
    FeedbackRequest,
    LabelProbability,
    ModelAnswer,
    ModelsAnswer,
    PredictionAnswer,
    PredictionRequest,
    PredictionsAnswer,
    SpanPredictionsAnswer,
    SurveyAnswer,
)
from millwright.surfaces.metrics import Metrics
from millwright.surfaces.shadowing import Shadowing
from millwright.surfaces.span_answers import span_answers

WATCH_SECONDS = 1.0
RELOAD_S = 30.0  # from one attempt to load a version to the next: it costs as much as one that succeeds
READ_AT_ONCE = 2_000  # characters; looking for personal data in more would keep all other requests waiting
NAMED_TEXT = "I am Ada Lovelace of 12 High Street, London."  # finding what it holds loads all that finds
Load = Callable[[str], Answering]

log = logging.getLogger(__name__)


class Service:
    """A project in service. Use within one event loop: `start`, then any of the others, `stop`."""

    def __init__(self, project: Project, load: Load) -> None:
        self.project = project
        self.vault = keep_vault(project)
        self.limits: ServeSection = project.settings.serve
        self._has_spans = project.settings.project.task == SPANS
        self._masker = masker(project, reversible=not self._has_spans)
        finder = self._masker.detector
        has_model = finder is not None and isinstance(finder.names, str)
        # Each has a lock, which a long request may hold for long.
        self._reads_aside = has_model or self._masker.book is not None
        self.metrics = Metrics()
        self.leading = Leading()
        self._max_characters = project.settings.data.max_characters
        self.engine = Engine(
            Limits(
                queue_size=self.limits.queue_size,
                deadline_s=self.limits.deadline_s,
                workers=cores(),
                cache_answers=self.limits.cache_answers,
            ),
            self.metrics.batch.observe,
        )
        self._journal: Journal | None = None
        self._watching: asyncio.Task[None] | None = None
        self._load = load
        self._models: dict[str, Answering] = {}
        self._left_out: dict[str, str] = {}
        self._failed: dict[str, tuple[float, Exception]] = {}
        self._traffic: Traffic | None = None
        self._shadowing = Shadowing(self.engine)

    async def start(self) -> None:
        """Load what the aliases mean, then take requests and follow the aliases."""
        await self.refresh()
        await asyncio.to_thread(lambda: self.vault.keys)  # a missing master key should be known at once
        await asyncio.to_thread(self.warm)
        self._journal = Journal(self.vault, self.metrics.unstored.inc)
        await self.engine.start()
        self._watching = asyncio.create_task(self._watch())

    def warm(self) -> None:
        """Load what finds personal data, so that no request waits for it.

        Raises:
            NotFound: the model that `privacy.names` names is missing.
            BadInput: it finds no names.
        """
        if self._masker.detector is not None:
            self._masker.detector.find(NAMED_TEXT)

    async def stop(self) -> None:
        """Answer what waits, write what was answered."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._shadowing.finish()
        await self.engine.stop()
        if self._journal is not None:
            await asyncio.to_thread(self._journal.close)
        forget_vault(self.project)
        take_back()

    async def refresh(self) -> None:
        """Load what champion and challenger mean now and swap it in; requests under way keep theirs.

        A version that cannot be loaded beside the champion is left out. A champion that cannot raises, and
        what was served still is.
        """
        infos = await asyncio.to_thread(list_versions, self.project)
        current = await asyncio.to_thread(current_traffic, self.project)
        names = {alias: info.name for info in infos for alias in info.aliases}
        if current is not None and current.arms[0].version != names.get(CHAMPION):
            current = None  # a version was promoted by hand: it serves everybody at once
        models: dict[str, Answering] = {}
        if CHAMPION in names:
            models[names[CHAMPION]] = await self._model(names[CHAMPION])
        beside = [names[CHALLENGER]] if CHALLENGER in names else []
        for name in [*beside, *(() if current is None else current.versions)]:
            if name not in models and (loaded := await self._beside(name)) is not None:
                models[name] = loaded
        if names.get(CHALLENGER) not in models:
            names.pop(CHALLENGER, None)
        is_changed = models.keys() != self._models.keys()
        self._models, self._traffic = models, current
        self.engine.swap(models, names)
        if is_changed:
            set_aside()

    async def predict(self, request: PredictionRequest) -> PredictionsAnswer | SpanPredictionsAnswer:
        """Answer a request and hand its predictions to the journal."""
        tokens: dict[str, VaultToken] = {}
        owner = self.vault.pseudonym(request.subject) if self._masker.book else None
        came = asyncio.get_running_loop().time()
        self._check_sizes(request.inputs)
        read = partial(self._read, request, owner, tokens)
        if self._reads_aside or sum(map(len, request.inputs)) > READ_AT_ONCE:
            texts, edits = await self.engine.aside(read, len(request.inputs), request.timeout_s, came)
        else:
            texts, edits = read()
        drawn = self._draw(request)
        version, model = self.engine.model(drawn.version)
        unseen = self._shadowing.beside(model, self._shadows_of(drawn), len(texts))
        is_known, start = self.engine.cache.knows_any(model, texts), time.perf_counter()
        try:
            answered = await self.engine.answer(model, texts, request.timeout_s, came, [*unseen.values()])
        except QueueFull:  # the queue is everybody's
            raise
        except asyncio.CancelledError:  # the client went, whom a quicker version might have kept
            self._note_failure(drawn, request.subject, HungUp.__name__)
            raise
        except Exception as error:  # whatever the version raised is counted against it, and raised
            self._note_failure(drawn, request.subject, type(error).__name__)
            raise
        seconds = None if is_known else time.perf_counter() - start
        said = (
            [(write_spans(found.spans), found.probability) for found in answered]
            if self._has_spans
            else [_likeliest(model.labels, probability_C) for probability_C in answered]
        )
        data, hour = self.project.settings.data, now()
        records = [
            Prediction(
                id=new_id(),
                version=version,
                text=text,
                label=label,
                probability=probability,
                subject=request.subject,
                ask=is_asked(data, text, request.subject),
                created_at=hour,
                traffic=drawn.traffic,
                arm=drawn.arm,
                propensity=drawn.propensity,
                unit=drawn.unit,
                seconds=seconds,
            )
            for text, (label, probability) in zip(texts, said, strict=True)
        ]
        answer: PredictionsAnswer | SpanPredictionsAnswer
        if self._has_spans:
            answer = span_answers(records, answered, request.inputs, edits)
        else:
            answer = _answers(records, model.labels, answered, request.top_k)
        # A token is as old as what holds it: an erasure takes both or neither.
        used = [replace(token, created_at=hour) for token in tokens.values()]
        self._open_journal.hand_over([*used, *records])  # last, since its thread then wants the processor
        self.metrics.note_predictions(version, len(records))
        for name, beside in unseen.items():
            self._shadowing.start(name, beside, records, self._open_journal)
        return answer

    async def hear(self, request: FeedbackRequest) -> FeedbackAnswer:
        """Store an opinion; returns once it is on disk."""
        opinion = Opinion(id=new_id(), created_at=now(), **request.model_dump())
        _, model = self.engine.model(CHAMPION)
        check_opinion(opinion, None if self._has_spans else set(model.labels))
        journal = self._open_journal
        await asyncio.wrap_future(journal.write([]))  # the prediction itself may still be on its way
        opinion, used = await asyncio.to_thread(self._masked, opinion)
        opinion, kept = await asyncio.to_thread(self._looked_up, opinion)
        if kept is not None:
            return FeedbackAnswer(id=kept)
        try:
            await asyncio.wrap_future(journal.write([*used, opinion]))
        except CannotStore:  # a message under the same key that came at the same time was first
            _, kept = await asyncio.to_thread(self._looked_up, opinion)
            if kept is None:
                raise
            return FeedbackAnswer(id=kept)
        for kind in SAYS:
            if getattr(opinion, kind) is not None:
                self.metrics.opinions.labels(kind).inc()
        return FeedbackAnswer(id=opinion.id)

    async def survey(self, prediction: str, survey: Survey) -> SurveyAnswer:
        """Whether to ask the user of a prediction; the draw is on disk."""
        await asyncio.wrap_future(self._open_journal.write([]))  # the prediction may still be on its way
        ask = await asyncio.to_thread(next_survey, self.project, prediction, survey)
        return SurveyAnswer(
            survey=ask.survey, prediction=ask.prediction, ask=ask.is_asked, probability=ask.probability
        )

    async def models(self) -> ModelsAnswer:
        """The versions in memory, with what the registry knows of them."""
        infos = await asyncio.to_thread(list_versions, self.project)
        served = dict(self._models)
        return ModelsAnswer(
            models=[
                ModelAnswer(
                    name=info.name,
                    aliases=list(info.aliases),
                    method=info.method,
                    accuracy=info.accuracy,
                    runtime=served[info.name].runtime,
                    labels=list(served[info.name].labels),
                )
                for info in infos
                if info.name in served
            ]
        )

    @property
    def is_ready(self) -> bool:
        """True while versions answer and the journal lives."""
        return self.engine.is_ready and self._open_journal.is_open

    @property
    def _open_journal(self) -> Journal:
        assert self._journal is not None, "the service was not started"
        return self._journal

    def _masked(self, opinion: Opinion) -> tuple[Opinion, list[VaultToken]]:
        """The opinion with personal data replaced in its comment, and the tokens that this needs."""
        if opinion.comment is None:
            return opinion, []
        with self.project.database.connect() as connection:
            owner = owner_of(connection, opinion.prediction)
        taken: dict[str, VaultToken] = {}
        (comment,) = self._masker.mask_all([opinion.comment], owners=[owner], taken=taken)
        used = [replace(token, created_at=opinion.created_at) for token in taken.values()]
        return replace(opinion, comment=comment), used

    def _looked_up(self, opinion: Opinion) -> tuple[Opinion, str | None]:
        """The opinion with the probability of its survey, and what is kept already under its key."""
        with self.project.database.connect() as connection:
            check_prediction(connection, opinion.prediction)
            kept = kept_under_key(connection, self.vault, opinion)
            return replace(opinion, asked_with=asked_with(connection, opinion)), kept

    async def _model(self, name: str) -> Answering:
        if name in self._models:
            return self._models[name]
        failed_at, error = self._failed.get(name, (-math.inf, None))
        if error is not None and time.monotonic() < failed_at + RELOAD_S:
            raise error
        try:
            return await asyncio.to_thread(self._load, name)
        except Exception as raised:  # whatever it does when it loads
            self._failed[name] = time.monotonic(), raised.with_traceback(None)  # which holds what it loaded
            raise

    async def _beside(self, name: str) -> Answering | None:
        """A version that may be missing; why it is gets told once."""
        try:
            loaded = await self._model(name)
            self._left_out.pop(name, None)
            return loaded
        except Exception as error:  # whatever it does when it loads, the champion must serve
            reason = loggable(error)
            if self._left_out.get(name) != reason:
                log.warning("version %s is not served beside the champion: %s", name, reason)
            self._left_out[name] = reason
            return None

    async def _watch(self) -> None:
        trouble = Trouble(log, "what is served cannot be brought up to date and stays as it is")
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self.refresh()
                trouble.is_over()
            except Exception as error:  # whatever a version does when it loads, the old one goes on serving
                trouble.tell(error)

    def _draw(self, request: PredictionRequest) -> Exposure:
        if request.version != CHAMPION or self._traffic is None:
            return Exposure(request.version)
        return expose(self._traffic, request.subject, self._models, CHAMPION)

    def _shadows_of(self, drawn: Exposure) -> dict[str, Answering]:
        """The versions that are to answer a request unseen."""
        if drawn.traffic is None or self._traffic is None:
            return {}
        return {name: self._models[name] for name in self._traffic.shadows if name in self._models}

    def _note_failure(self, drawn: Exposure, subject: str | None, kind: str) -> None:
        if drawn.traffic is not None and drawn.arm is not None and drawn.propensity is not None:
            told = (drawn.traffic, drawn.arm, drawn.propensity, drawn.unit)
            self._open_journal.hand_over([Failure(new_id(), *told, subject, kind, now())])

    def _check_sizes(self, inputs: Sequence[str]) -> None:
        most = self.limits.max_inputs
        if len(inputs) > most:
            raise TooLarge(
                f"{len(inputs)} inputs in one request, the limit serve.max_inputs is {most}; "
                "send fewer at a time",
                field="inputs",
                value=f"{len(inputs)} inputs",
            )
        for place, text in enumerate(inputs):
            if len(text) > self._max_characters:
                raise TooLarge(
                    f"inputs.{place} has {len(text)} characters, the limit data.max_characters is "
                    f"{self._max_characters}; shorten it",
                    field=f"inputs.{place}",
                    value=f"{len(text)} characters",
                )

    def _read(
        self, request: PredictionRequest, owner: str | None, tokens: dict[str, VaultToken]
    ) -> tuple[list[str], list[list[Round]]]:
        """The texts that the model reads, and where spans are to be found the edits that made them."""
        inputs = request.inputs
        texts = [clean(text) for text in inputs]
        for place, text in enumerate(texts):
            if not text:
                field = f"inputs.{place}"
                raise BadInput(f"{field} is blank; send text with words", field=field, value=inputs[place])
        # From here on, nobody sees what came.
        if not self._has_spans:
            return self._masker.mask_all(texts, owners=[owner] * len(texts), taken=tokens), []
        if request.top_k is not None:
            raise BadInput(
                f"top_k is {request.top_k}, and spans are found here, each with one label; leave it out",
                field="top_k",
            )
        return read_in(self._masker, inputs)


def _likeliest(labels: tuple[str, ...], probability_C: np.ndarray) -> tuple[str, float]:
    best = probability_C.argmax()
    return labels[best], float(probability_C[best])


def _ranked(labels: tuple[str, ...], probability_C: np.ndarray, count: int) -> list[LabelProbability]:
    best = (-probability_C).argsort(kind="stable")[:count]
    return [LabelProbability(label=labels[place], probability=float(probability_C[place])) for place in best]


def _answers(
    records: Sequence[Prediction], labels: tuple[str, ...], probability_NC: np.ndarray, top_k: int | None
) -> PredictionsAnswer:
    return PredictionsAnswer(
        predictions=[
            PredictionAnswer(
                id=record.id,
                label=record.label,
                probability=record.probability,
                version=record.version,
                ask=record.ask,
                top=_ranked(labels, probability_C, top_k) if top_k else None,
            )
            for record, probability_C in zip(records, probability_NC, strict=True)
        ]
    )
