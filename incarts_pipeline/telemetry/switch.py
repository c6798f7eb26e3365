"""Switch of telemetry: the standard variables of OpenTelemetry, or a program that set it up.

A program that has its own providers keeps them, and gets our spans and metrics. Else the standard
variables name a collector, to which they go by OTLP over HTTP. Nothing of OpenTelemetry is imported
where neither is so.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from incarts_pipeline.installation import install_line
from incarts_pipeline.outgoing import logger_of

logger = logger_of(__name__)

_SCOPE = "incarts_pipeline"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def tracer() -> Any:
    """Return OpenTelemetry's tracer of this library, None where traces go nowhere."""
    return _made("trace") if _is_on("TRACES") else None


def meter() -> Any:
    """Return OpenTelemetry's meter of this library, None where metrics go nowhere."""
    return _made("metrics") if _is_on("METRICS") else None


def _is_on(signal: str) -> bool:
    """Say whether somebody wants a signal: TRACES or METRICS."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    # Only who sets it up imports the SDK.
    return "opentelemetry.sdk" in sys.modules or _goes_out(signal)


def _goes_out(signal: str) -> bool:
    """Say whether the standard variables send a signal to a collector."""
    exporter = os.environ.get(f"OTEL_{signal}_EXPORTER", "")
    named = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or os.environ.get(_ENDPOINT)
    return exporter == "otlp" or (not exporter and bool(named))


@functools.cache
def _made(signal: str) -> Any:
    try:
        return _tracer() if signal == "trace" else _meter()
    except ImportError as error:
        # The variables may be meant for other programs: no reason to make no links.
        logger.warning(
            "The variables OTEL_… ask for telemetry, which needs the package %s: %s",
            error.name,
            install_line("otel"),
        )
        return None


def _tracer() -> Any:
    from opentelemetry import trace

    if _goes_out("TRACES") and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=_resource())
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)
    return trace.get_tracer(_SCOPE)


def _meter() -> Any:
    from opentelemetry import metrics

    sdk = sys.modules.get("opentelemetry.sdk.metrics")
    provider = metrics.get_meter_provider()
    if _goes_out("METRICS") and not (sdk and isinstance(provider, sdk.MeterProvider)):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        metrics.set_meter_provider(MeterProvider([reader], resource=_resource()))
    return metrics.get_meter(_SCOPE)


def _resource() -> Any:
    """Return who sends this: OTEL_SERVICE_NAME, and `incarts` where nobody said a name."""
    from opentelemetry.sdk.resources import Resource

    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in attributes
    return Resource.create({} if named else {"service.name": "incarts"})
