"""A receiver of OTLP over HTTP: it decodes the requests of exporters with the official protocol definitions."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import attrs
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@attrs.define
class Received:
    """The requests of exporters.

    Attributes:
        url: where the receiver listens.
        traces: the decoded requests with spans.
        metrics: the decoded requests with metrics.
    """

    url: str = ""
    traces: list[ExportTraceServiceRequest] = attrs.Factory(list[ExportTraceServiceRequest])
    metrics: list[ExportMetricsServiceRequest] = attrs.Factory(list[ExportMetricsServiceRequest])

    def take(self, path: str, body: bytes) -> int:
        """Decode a request and return its status."""
        match path:
            case "/v1/traces":
                self.traces.append(ExportTraceServiceRequest.FromString(body))
            case "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            case _:
                return 404
        return 200

    @property
    def spans(self) -> dict[str, Span]:
        """The spans by name."""
        return {
            span.name: span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    @property
    def scopes(self) -> set[str]:
        """The names of the instrumentation scopes of the spans."""
        return {
            scope.scope.name
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
        }

    @property
    def last_metrics(self) -> dict[str, Metric]:
        """The metrics of the last request by name."""
        return {
            metric.name: metric
            for resource in self.metrics[-1].resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@contextmanager
def receiving() -> Iterator[Received]:
    """Receive on a real socket within the block."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            self.send_response(received.take(self.path, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
