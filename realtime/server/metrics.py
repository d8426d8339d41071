"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from realtime.ingest.topics import Topic
from realtime.server.exchange import Exchange
from realtime.serving.calls import Calls
from realtime.serving.registry import Registry
from realtime.serving.results import Results
from realtime.serving.upstream import Upstream

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class _Topics(Collector):
    """Partitions come and go, so their gauges are made when Prometheus asks."""

    def __init__(self, topics: Callable[[], Iterable[Topic]]) -> None:
        self._topics = topics

    def collect(self) -> Iterator[GaugeMetricFamily]:
        labels = ("source", "topic", "partition")
        lag = GaugeMetricFamily("duet_topic_lag", "Messages that have not landed yet", labels=labels)
        landed = GaugeMetricFamily("duet_topic_offset", "Offset of the last message that has landed", labels=labels)
        for topic in self._topics():
            where = (topic.source, topic.topic, str(topic.partition))
            landed.add_metric(where, topic.landed)
            if topic.lag is not None:
                lag.add_metric(where, topic.lag)
        yield lag
        yield landed


class _Results(Collector):
    """Calls of lambdas with a cache, counted where they are answered."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def collect(self) -> Iterator[Metric]:
        calls = CounterMetricFamily(
            "duet_cache_calls",
            "Calls of lambdas with a cache: answered from it, by the query of an equal call, or by their own",
            labels=("lambda", "outcome"),
        )
        for which, number in self._results.counted.items():
            calls.add_metric(which, number)
        yield calls
        yield GaugeMetricFamily("duet_cache_bytes", "What the kept answers take", value=self._results.bytes)


class Metrics:
    """Counted by route, lambda, version and status; only lambdas that exist get a name, so labels stay few."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._series: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}
        self._requests = Counter(
            "duet_http_requests",
            "Requests answered; status 499: the caller left before",
            ("route", "lambda", "version", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "duet_http_request_seconds",
            "Time from a request's head to the end of its answer",
            ("route", "lambda", "version"),
            registry=self._registry,
            buckets=_SECONDS,
        )

    def observe(self, route: str, here: Exchange, seconds: float) -> None:
        """Counts a request that is done."""
        which = (route, here.lambda_name, here.version, here.status)
        found = self._series.get(which)
        if found is None:
            requests = self._requests.labels(*which[:3], str(here.status))
            found = self._series[which] = requests, self._seconds.labels(*which[:3])
        found[0].inc()
        found[1].observe(seconds)

    def watch(self, upstream: Upstream, calls: Calls, registry: Registry) -> None:
        """Shows the queries in flight and what is known, as they are when Prometheus asks."""

        def gauge(name: str, help_text: str) -> Gauge:
            return Gauge(name, help_text, registry=self._registry)

        admission = upstream.admission
        gauge("duet_queries_in_flight", "Lambda queries that ClickHouse runs").set_function(lambda: admission.in_flight)
        gauge("duet_queries_waiting", "Lambda calls that wait for their turn").set_function(lambda: calls.waiting)
        gauge("duet_lambdas", "Lambdas that can be called").set_function(lambda: len(registry.catalog.latest))
        gauge("duet_registry_up_to_date", "1 where the last refresh succeeded").set_function(
            lambda: float(not registry.problem)
        )

    def watch_topics(self, topics: Callable[[], Iterable[Topic]]) -> None:
        """Shows how far the topics are read that this server reads."""
        self._registry.register(_Topics(topics))

    def watch_results(self, results: Results) -> None:
        """Shows how often an answer is used again."""
        self._registry.register(_Results(results))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)
