"""What a version would bring that no user has met, from what users were told by others and said of it.

Shape suffixes: N logged requests, A labels.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import ColumnElement, and_, or_, select, true

from millwright.errors import BadInput, NotFound, one_of
from millwright.experiment.off_policy import FLOOR, PolicyValue, policy_value
from millwright.experiment.outcomes import METRICS, Event, asked_for, read_requests
from millwright.experiment.plans import Heard
from millwright.feedback import is_measuring
from millwright.privacy.sealed import stream_named
from millwright.privacy.vault import open_vault
from millwright.project import Project
from millwright.records import Opinion, Prediction
from millwright.registry.traffic import Arm, list_traffic
from millwright.registry.versions import CHAMPION, list_versions, resolve
from millwright.serve.engine import Answering
from millwright.serve.features import features_of
from millwright.serve.loading import Loader
from millwright.settings import refuse_spans
from millwright.store.database import hour_of, now
from millwright.store.tables import datasets, opinions, predictions, versions

MOST_REQUESTS = 5_000
FORETOLD = ("accepted", "not_corrected")  # by the probability that an answer is right

Load = Callable[[str], Answering]


@dataclass(frozen=True)
class CandidateValue:
    """What a version would have brought on logged requests that did not teach it.

    `requests` are the first judged ones of different users. `served` is the mean outcome of what they were
    told, with its standard error. Of the requests, on a share `agrees` the candidate says just that, and on
    a share `covered` its answer is one that users could get then; of the others the logs tell nothing.
    `left_out` counts judged requests from times when a version of `gone` served too: it was retired since, so
    nobody can tell what it would have answered.
    """

    version: str
    metric: str
    requests: int
    agrees: float
    covered: float
    served: float
    served_error: float
    value: PolicyValue
    left_out: int = 0
    gone: tuple[str, ...] = ()


def estimate_candidate(
    project: Project,
    version: str,
    metric: str = "accepted",
    at: str | None = None,
    load: Load | None = None,
    *,
    heard: Heard = "everyone",
) -> CandidateValue:
    """Value a version on logged traffic before any user meets it.

    The action is the answer. Its probability is the share of users whose version gives it to the text, so
    all versions that served then answer the texts anew. Requests count that cannot have taught the candidate:
    those after its dataset was made, and those of users who are held out by their hash. Times when a version
    served that is gone are left out as a whole, which bends nothing: users were drawn anew at other times.

    Args:
        project: an open project.
        version: a version or an alias.
        metric: one that counts what is good.
        at: the hour to look; now when not given. Requests whose window is open then are left out.
        load: opens a version; the project's own loader when not given.
        heard: whose opinions count; "asked" are users who are asked whatever they were told, "everyone" also
            those who speak up by themselves, mostly where an answer was wrong.

    Returns:
        The value by each estimator. The doubly robust one guesses `accepted` and `not_corrected` by the
        probability of a label, the mean over the versions that served; other metrics have no guess.

    Raises:
        NotFound: no such version or metric.
        BadInput: spans are to be found, the metric counts what is bad, or the logs are worth fewer than 100
            decisions.

    Source: Dudik, Langford and Li 2011, arXiv:1103.4601.
    """
    refuse_spans(project.settings, "`millwright experiment estimate`")
    name, at = resolve(project, version), at or now()
    if not METRICS[one_of("metric", metric, METRICS)].is_good:
        raise BadInput(f"the metric must count what is good, got {metric!r}; pass accepted", "metric")
    logged, lost = _logged(project, name, metric, at, heard)
    gone = tuple(sorted({arm for one in lost for arm in one}))
    if not logged:
        raise BadInput(
            f"no request that {name} did not learn from was judged yet, as of {metric}"
            f"{_without(lost, gone)}; let users of the {CHAMPION} say more first"
        )
    probability, column = _answers(load or Loader(project).load, name, logged)
    action_N, chance_NA = _chances(logged, probability, column)
    every_N, wanted_N = np.arange(len(logged)), probability[name].argmax(axis=1)
    # Of all arms alike: a guess by the version that was drawn would hang on the draw, and bend the estimate.
    guess_NA = np.stack(
        [
            sum(share * probability[arm][at_] for arm, share in one.arms.items())
            for at_, one in enumerate(logged)
        ]
    )
    outcome_N = np.array([one.outcome for one in logged])
    value = policy_value(
        outcome_N,
        action_N,
        chance_NA[every_N, action_N],
        np.eye(len(column))[wanted_N],
        guess_NA if metric in FORETOLD else None,
    )
    return CandidateValue(
        version=name,
        metric=metric,
        requests=len(logged),
        agrees=float((wanted_N == action_N).mean()),
        covered=float((chance_NA[every_N, wanted_N] > 0).mean()),
        served=float(outcome_N.mean()),
        served_error=float(outcome_N.std(ddof=1) / np.sqrt(len(outcome_N))),
        value=value,
        left_out=len(lost),
        gone=gone,
    )


def _without(lost: Sequence[object], gone: Sequence[str]) -> str:
    """What is to be added where requests cannot be valued, since versions are gone."""
    if not lost:
        return ""
    return f", but for {len(lost)} from when {', '.join(gone)} served too, retired since by an erasure"


@dataclass(frozen=True)
class _Logged:
    """A judged request: what was answered, the share of users of each version then, the outcome."""

    given: Prediction
    arms: dict[str, float]
    outcome: float


def _logged(
    project: Project, version: str, metric: str, at: str, heard: Heard
) -> tuple[list[_Logged], list[frozenset[str]]]:
    """The newest judged requests that did not teach a version, the first of each user.

    Of those that cannot be valued, since a version that served then is gone, these versions.
    """
    window = timedelta(hours=project.settings.experiment.window_hours)
    closed = hour_of(datetime.fromisoformat(at) - window)
    since, known = _since(project, version), {info.name for info in list_versions(project)}
    shares, data = _shares(list_traffic(project)), project.settings.data
    events, said = read_requests(project, _may_judge(metric, since, closed), at)
    judged = dict[str, tuple[Event, float]]()
    for event in sorted(events, key=lambda event: (event.created_at, event.id)):
        told = _timely(event, said.get(event.id, ()), window)
        if heard == "asked" and METRICS[metric].needs_answer:
            told = asked_for(event, told)
        outcome = METRICS[metric].value(event, told, 1.0)
        if outcome is not None:
            judged[event.id] = event, outcome
    found, lost, seen = deque[_Logged](maxlen=MOST_REQUESTS), list[frozenset[str]](), set[str]()
    for given in stream_named(open_vault(project), list(judged)):
        event, outcome = judged[given.id]
        arms = {given.version: 1.0} if given.traffic is None else shares.get(given.traffic, {})
        is_new = given.created_at > since or is_measuring(data, given.text, given.subject)
        if event.unit in seen or given.version not in arms or not is_new:
            continue
        if gone := arms.keys() - known:
            lost.append(frozenset(gone))
            continue
        seen.add(event.unit)
        found.append(_Logged(given, arms, outcome))
    return list(found), lost


def _since(project: Project, version: str) -> str:
    """When the dataset of a version was made."""
    made = select(datasets.c.created_at).join(versions, versions.c.dataset == datasets.c.id)
    with project.database.connect() as connection:
        since: str | None = connection.scalar(made.where(versions.c.name == version))
    if since is None:
        raise NotFound(f"the dataset of {version} is not known; train it anew")
    return since


def _may_judge(metric: str, since: str, closed: str) -> ColumnElement[bool]:
    """Which predictions may count, as far as it can be told without opening them.

    Of earlier ones only users who were always asked may be held out; all others' rows teach.
    """
    judged = select(opinions.c.prediction).where(opinions.c.sealed.is_not(None))
    return and_(
        predictions.c.created_at <= closed,
        predictions.c.sealed.is_not(None),
        or_(predictions.c.created_at > since, predictions.c.ask),
        predictions.c.id.in_(judged) if METRICS[metric].needs_answer else true(),
    )


def _timely(event: Event, said: Sequence[Opinion], window: timedelta) -> list[Opinion]:
    end = hour_of(datetime.fromisoformat(event.created_at) + window)
    return [one for one in said if one.created_at < end]


def _shares(history: Mapping[int, Sequence[Arm]]) -> dict[int, dict[str, float]]:
    """The share of each version by the shares in force, but for steps that gave one hardly any."""
    found: dict[int, dict[str, float]] = {}
    for number, arms in history.items():
        own: dict[str, float] = {}
        for arm in arms:
            if arm.share:
                own[arm.version] = own.get(arm.version, 0.0) + arm.share
        if min(own.values()) >= FLOOR:
            found[number] = own
    return found


def _answers(
    load: Load, candidate: str, logged: Sequence[_Logged]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """What each version says of the texts, probabilities [N, A] by version, and the column of each label."""
    texts, found = [one.given.text for one in logged], dict[str, tuple[Sequence[str], np.ndarray]]()
    for version in dict.fromkeys([candidate, *(arm for one in logged for arm in one.arms)]):
        model = load(version)
        found[version] = model.labels, model.probabilities(features_of(model, texts))
    names = sorted({*(label for labels, _ in found.values() for label in labels),
                    *(one.given.label for one in logged)})  # fmt: skip
    column, spread = {label: place for place, label in enumerate(names)}, dict[str, np.ndarray]()
    for version, (labels, probability_NC) in found.items():
        spread[version] = np.zeros((len(logged), len(names)))
        spread[version][:, [column[label] for label in labels]] = probability_NC
    return spread, column


def _chances(
    logged: Sequence[_Logged], probability: Mapping[str, np.ndarray], column: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The answer that was given [N], and the probability [N, A] of each by the shares in force."""
    action_N = np.array([column[one.given.label] for one in logged])
    chance_NA = np.zeros((len(logged), len(column)))
    for place, one in enumerate(logged):
        for arm, share in one.arms.items():
            # What was answered stands, whatever another runtime would say now.
            told = action_N[place] if arm == one.given.version else probability[arm][place].argmax()
            chance_NA[place, told] += share
    return action_N, chance_NA
