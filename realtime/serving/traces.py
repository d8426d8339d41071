"""OpenTelemetry traces: a span per request, one per query or insert below it, which ClickHouse continues with its own.

They are sent by OTLP over HTTP where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; the official SDK reads the other ``OTEL_``
variables. Where it is not, there are no `Traces`, and a call costs no more than to see that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from realtime.clickhouse.endpoint import Endpoint
from realtime.errors import ConfigError
from realtime.settings import Settings

_ROUTES = {"/v1/lambdas/": "/v1/lambdas/{name}", "/v1/events/": "/v1/events/{source}", "/mcp": "/mcp"}
_HEADERS = frozenset({b"traceparent", b"tracestate"})
_W3C = TraceContextTextMapPropagator()
_LAST_SECONDS = 3


@dataclasses.dataclass(slots=True)
class Asked:
    """What became of a call: ``span`` is its request's, where it is traced; ``batch`` the calls that its query
    answered, 0 before there is one; ``rows`` those of its answer, None where nobody counted them."""

    span: Span | None = None
    batch: int = 0
    rows: int | None = None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits; empty where the request is in no trace that is kept."""
        return f"{self.span.get_span_context().trace_id:032x}" if self.span and self.span.is_recording() else ""


class Traces:
    """Spans of ``tracer``; ``endpoint`` is the ClickHouse that is asked, ``flush`` sends what is left."""

    def __init__(self, tracer: Tracer, endpoint: Endpoint, flush: Callable[[], None]) -> None:
        self._tracer = tracer
        self._known: dict[str, str | int] = {
            "db.system.name": "clickhouse",
            "server.address": endpoint.host,
            "server.port": endpoint.port,
        }
        self._flush = flush

    def close(self) -> None:
        """Sends what is left, unless the collector does not take it in some seconds: the SDK would try for 30, and so
        hold up the server's end."""
        sending = threading.Thread(target=self._flush, daemon=True)
        sending.start()
        sending.join(_LAST_SECONDS)

    def begin(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Span | None:
        """The span of a request, below the one that its ``traceparent`` names; None for pages and probes."""
        route = next((shown for start, shown in _ROUTES.items() if path.startswith(start)), None)
        if route is None:
            return None
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in _HEADERS}
        known = {"http.request.method": method, "http.route": route, "url.path": path}
        return self._tracer.start_span(
            f"{method} {route}", context=_W3C.extract(carrier), kind=SpanKind.SERVER, attributes=known
        )

    def end(self, asked: Asked, status: int, lambda_name: str, known: Mapping[str, str]) -> None:
        """Ends the request's span; ``known`` are further attributes, those that are empty left out."""
        span = asked.span
        if span is None:
            return
        if lambda_name:
            span.update_name(f"lambda {lambda_name}")
        counts = {"http.response.status_code": status, "duet.batch.size": asked.batch or None, "duet.rows": asked.rows}
        span.set_attributes({name: value for name, value in counts.items() if value is not None})
        span.set_attributes({name: value for name, value in known.items() if value})
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def query(self, name: str, version: str, calls: Sequence[Asked]) -> contextlib.AbstractContextManager[str]:
        """Around a query of lambda ``name`` that answers ``calls``; gives the ``traceparent`` to send with it,
        empty where nothing is kept."""
        known: dict[str, str | int] = {"duet.lambda": name, "duet.version": version, "duet.batch.size": len(calls)}
        return self._below([call.span for call in calls if call.span is not None], name, known)

    def inserts(self, relation: str) -> Callable[[int, Sequence[Span]], contextlib.AbstractContextManager[str]]:
        """What is around inserts into ``relation``: each of so many rows, for requests of these spans; it gives the
        ``traceparent`` to send with it."""

        def insert(rows: int, spans: Sequence[Span]) -> contextlib.AbstractContextManager[str]:
            known: dict[str, str | int] = {
                "db.collection.name": relation,
                "duet.rows": rows,
                "duet.batch.size": len(spans),
            }
            return self._below(spans, f"insert {relation}", known)

        return insert

    @contextlib.contextmanager
    def _below(self, spans: Sequence[Span], name: str, known: Mapping[str, str | int]) -> Iterator[str]:
        """A span of ClickHouse's work for the requests of ``spans``.

        It is of the first one's trace, or of the first that is kept. The others' traces are linked to it, and it to
        them.
        """
        first = next((span for span in spans if span.is_recording()), spans[0] if spans else None)
        others = [span for span in spans if span is not first]
        span = self._tracer.start_span(
            f"clickhouse {name}",
            context=set_span_in_context(first) if first is not None else None,
            kind=SpanKind.CLIENT,
            attributes={**self._known, **known},
            links=[Link(other.get_span_context()) for other in others],
        )
        for other in others:
            if other.is_recording():  # else its caller left meanwhile
                other.add_link(span.get_span_context())
        headers: dict[str, str] = {}
        if span.is_recording():  # ClickHouse 26.7 keeps its spans also where the header says not to
            _W3C.inject(headers, set_span_in_context(span))
        try:
            yield headers.get("traceparent", "")
        except BaseException as error:  # also where the caller left
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()


def find_traces(settings: Settings, endpoint: Endpoint) -> Traces | None:
    """What traces calls to ``endpoint``; None where no collector is named. ConfigError where the packages that send
    are missing."""
    base, own = (settings.text(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    if not base and not own:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, and the packages that send them are missing: {error}",
            remedy="pip install 'duet[traces]', or unset OTEL_EXPORTER_OTLP_ENDPOINT",
        ) from None
    resource = Resource.create().merge(Resource({"service.name": "duet"})).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=own or f"{base.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Traces(provider.get_tracer("duet"), endpoint, provider.shutdown)
