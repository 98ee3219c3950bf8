"""The service's Prometheus metrics. No label has a value that a user chose."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from millwright.runner.lead import Leading
from millwright.serve.engine import Engine

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters, gauges and histograms in a registry of their own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "millwright_requests_total", "Requests by route and status.", ["route", "status"], registry=own
        )
        self.seconds = Histogram(
            "millwright_request_duration_seconds",
            "Time to answer, also from memory.",
            ["route"],
            buckets=SECONDS_BUCKETS,
            registry=own,
        )
        self.batch = Histogram(
            "millwright_batch_inputs",
            "Distinct inputs that went through the network together.",
            buckets=BATCH_BUCKETS,
            registry=own,
        )
        self.queue = Gauge("millwright_queue_inputs", "Inputs that wait or are being answered.", registry=own)
        self.predictions = Counter(
            "millwright_predictions_total", "Predictions by version.", ["version"], registry=own
        )
        self.unstored = Counter(
            "millwright_unstored_predictions_total", "Answered, but the disk refused them.", registry=own
        )
        self.opinions = Counter("millwright_opinions_total", "Opinions by kind.", ["kind"], registry=own)
        self.cache_hits = Counter(
            "millwright_cache_hits_total", "Inputs answered from memory, shadows' too.", registry=own
        )
        self.workers_replaced = Counter(
            "millwright_workers_replaced_total", "Workers that died or hung.", registry=own
        )
        self.leader = Gauge("millwright_leader", "1 if this server turns the wheel.", registry=own)
        self.turning = Gauge("millwright_turning", "1 while a turn of this server runs.", registry=own)
        self.turns = Counter("millwright_turns_total", "Turns that this server ran.", registry=own)
        self.turns_failed = Counter("millwright_turns_failed_total", "Turns that failed.", registry=own)
        self.drifting = Gauge(
            "millwright_drifting", "1 if drift was found since the last turn, by this server.", registry=own
        )
        self.drift_alarms = Counter(
            "millwright_drift_alarms_total", "Checks of this server that found drift.", registry=own
        )
        self._turns = self._turns_failed = self._alarms = 0
        self._cache_hits = self._workers_replaced = 0
        self._by_outcome: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._by_version: dict[str, Counter] = {}

    def read(self, engine: Engine, leading: Leading) -> bytes:
        """The metrics in Prometheus' text format, with what engine and runner count by themselves."""
        self.leader.set(leading.is_leader)
        self.turning.set(leading.is_turning)
        self.turns.inc(leading.turns - self._turns)
        self.turns_failed.inc(leading.failures - self._turns_failed)
        self.drifting.set(leading.is_drifting)
        self.drift_alarms.inc(leading.alarms - self._alarms)
        self._turns, self._turns_failed, self._alarms = leading.turns, leading.failures, leading.alarms
        self.queue.set(engine.waiting_inputs)
        self.cache_hits.inc(engine.cache.hits - self._cache_hits)
        self.workers_replaced.inc(engine.workers_replaced - self._workers_replaced)
        self._cache_hits, self._workers_replaced = engine.cache.hits, engine.workers_replaced
        return generate_latest(self.registry)

    def note(self, route: str, status: int, seconds: float) -> None:
        """Count a request and its duration."""
        known = self._by_outcome.get((route, status))
        if known is None:
            known = self.requests.labels(route, str(status)), self.seconds.labels(route)
            self._by_outcome[route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def note_predictions(self, version: str, count: int) -> None:
        """Count predictions of a version."""
        known = self._by_version.get(version)
        if known is None:
            known = self._by_version[version] = self.predictions.labels(version)
        known.inc(count)
