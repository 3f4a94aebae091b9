"""What the proxy counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_OWN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_UPSTREAM = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counts of one worker process; where `shared`, those of all workers are shown."""

    def __init__(self, shared: str | None) -> None:
        self._shared = shared
        self._registry = registry = CollectorRegistry()
        if not shared:
            ProcessCollector(registry=registry)
        self.requests = Counter(
            "davsp_requests",
            "Requests answered, by endpoint and HTTP status.",
            ["endpoint", "status"],
            registry=registry,
        )
        self.refused = Counter("davsp_refused", "Requests not passed on, by why.", ["code"], registry=registry)
        self.images = Counter(
            "davsp_images",
            "Images put behind the defence; cached: made for an earlier request.",
            ["cached"],
            registry=registry,
        )
        self.alarms = Counter(
            "davsp_alarms", "Requests for which the defence of a loaded model raised its alarm.", registry=registry
        )
        self.own = Histogram(
            "davsp_own_seconds",
            "From a request's last byte until it was sent on.",
            ["endpoint"],
            buckets=_OWN,
            registry=registry,
        )
        self.upstream = Histogram(
            "davsp_upstream_seconds",
            "From then until the server's answer began.",
            ["endpoint"],
            buckets=_UPSTREAM,
            registry=registry,
        )
        self.failures = Counter(
            "davsp_upstream_failures", "Requests that the server failed, by how.", ["kind"], registry=registry
        )
        self.in_flight = Gauge(
            "davsp_requests_in_flight", "Requests in work.", registry=registry, multiprocess_mode="livesum"
        )
        self.hardening = Gauge(
            "davsp_hardening_queue",
            "Requests whose images are being put behind the defence.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.disconnects = Counter(
            "davsp_client_disconnects", "Clients that left before their answer's end.", registry=registry
        )
        self.reloads = Counter("davsp_reloads", "Loadings of another defence.", ["result"], registry=registry)
        self.observed = Counter(
            "davsp_observed",
            "Requests compared when observing: what each answer was, and whether the texts are equal.",
            ["undefended", "defended", "equal"],
            registry=registry,
        )

    def show(self) -> bytes:
        """In Prometheus' text format."""
        if not self._shared:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, path=self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(together)
