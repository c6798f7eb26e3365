"""Spans, metrics and log records of runs, as a collector gets them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pytest

from incarts_pipeline.outgoing import keep_secret, logger_of, records_of_run
from incarts_pipeline.sandbox import Sandbox
from tests.support.runs import products

# A program with providers of its own, which plans and writes twice, and fails once.
PROGRAM = """
import json
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))

from incarts_pipeline import write_links
from incarts_pipeline.errors import IncartsError

for _ in range(2):
    write_links("catalog.csv", "mapping.yaml", output="links.parquet", progress=False)
try:
    write_links("catalog.csv", "mapping.yaml", output="no/such/\x1b[31mfolder/links.parquet")
except IncartsError:
    pass
told = [json.loads(span.to_json()) for span in spans.get_finished_spans()]
print(json.dumps({"spans": told, "metrics": json.loads(reader.get_metrics_data().to_json())}))
"""
MAPPING = """
link_set: shop
unique_key: [sku]
link:
  name: {column: name}
  retailer: walmart
  intent: add_to_cart
  products: {retailer_product_id: {column: retailer_product_id}}
"""


def prepared(box: Sandbox) -> dict[str, str]:
    """Write a catalog of 12 products, one of them wrong, and return the environment to use."""
    names = ["", *(f"Product {i}" for i in range(11))]
    pacsv.write_csv(products(12, name=names), "catalog.csv")
    Path("mapping.yaml").write_text(MAPPING, encoding="utf-8")
    own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return own | {
        "INCARTS_API_BASE_URL": box.base_url,
        "INCARTS_API_KEY": box.api_key,
        "INCARTS_PROJECT_ID": box.project_id,
        "INCARTS_RATE": "fixed:none",
    }


def points(metrics: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the data points by the metric's name."""
    [resource] = metrics["resource_metrics"]
    found = [one for scope in resource["scope_metrics"] for one in scope["metrics"]]
    return {one["name"]: one["data"]["data_points"] for one in found}


@pytest.mark.slow
def test_program_with_providers_gets_spans_and_metrics(box: Sandbox) -> None:
    """A span for each run and stage under it; counts, latency and doubts; nothing secret."""
    box.fail_next("error_before", 1)
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=prepared(box), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    spans = told["spans"]
    by_id = {span["context"]["span_id"]: span["name"] for span in spans}
    pairs = [(span["name"], by_id.get(span["parent_id"])) for span in spans]
    assert pairs.count(("incarts.run", None)) >= 2
    assert pairs.count(("incarts.write", "incarts.run")) == 2
    assert pairs.count(("incarts.publish", "incarts.run")) == 2
    assert ("incarts.plan", None) in pairs
    first = next(span["attributes"] for span in spans if span["name"] == "incarts.run")
    assert (first["incarts.rows.created"], first["incarts.rows.rejected"]) == (11, 1)
    assert len(first["incarts.run_id"]) >= 12
    found = points(told["metrics"])
    links = {one["attributes"]["incarts.status"]: one["value"] for one in found["incarts.links"]}
    assert links == {"created": 11, "unchanged": 11, "rejected": 2}
    requests = found["incarts.requests"]
    answers = {one["attributes"]["incarts.outcome"]: one["value"] for one in requests}
    assert answers == {"link": 11, "unknown": 1}
    [refused] = found["incarts.refusals"]
    assert refused["attributes"]["incarts.http_status"] == 500
    assert sum(one["count"] for one in found["incarts.request.duration"]) == 12
    assert [one["value"] for one in found["incarts.doubts"]] == [0]
    assert box.api_key not in ran.stdout + ran.stderr
    assert "\x1b" not in ran.stdout
    assert "\\u001b" not in ran.stdout


class _Collector(BaseHTTPRequestHandler):
    """An OTLP/HTTP collector that keeps what it is sent."""

    got: list[tuple[str, bytes]]

    def do_POST(self) -> None:  # the name that http.server calls
        """Keep a body."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector: its URL, and what it got as (path, body)."""
    got: list[tuple[str, bytes]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (_Collector,), {"got": got}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


APPLY = ("apply", "catalog.csv", "-m", "mapping.yaml", "-o", "links.parquet", "--yes")


def incarts(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the shell."""
    command = [sys.executable, "-c", "from incarts_pipeline.cli import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_shell_sends_to_the_collector_that_the_variables_name(
    box: Sandbox, collector: tuple[str, list[tuple[str, bytes]]]
) -> None:
    """OTEL_EXPORTER_OTLP_ENDPOINT alone: traces and metrics arrive, without the key."""
    url, got = collector
    ran = incarts(prepared(box) | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "NO_PROXY": "*"}, *APPLY)
    assert ran.returncode == 0, ran.stderr
    assert {path for path, _ in got} == {"/v1/traces", "/v1/metrics"}
    everything = b"".join(body for _, body in got)
    for name in (b"incarts.run", b"incarts.publish", b"incarts.links", b"service.name"):
        assert name in everything
    assert box.api_key.encode() not in everything


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}],
    ids=["nothing", "disabled", "none"],
)
def test_nothing_is_loaded_where_it_is_off(box: Sandbox, variables: dict[str, str]) -> None:
    """Nobody asked, or somebody said no: OpenTelemetry isn't imported."""
    code = (
        "import sys\nfrom incarts_pipeline.cli import main\ntry: main()\n"
        "finally: print('loaded:', 'opentelemetry' in sys.modules)"
    )
    environment = prepared(box) | variables
    if "OTEL_SDK_DISABLED" in variables:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    ran = subprocess.run(
        [sys.executable, "-c", code, *APPLY], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "loaded: False" in ran.stdout


@pytest.mark.slow
def test_missing_extra_is_told_and_costs_no_link(box: Sandbox) -> None:
    """The variables may be meant for others: the run goes on, and says what to install."""
    code = (
        "import sys\nsys.modules['opentelemetry'] = None\n"
        "from incarts_pipeline.cli import main; main()"
    )
    environment = prepared(box) | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    environment["COLUMNS"] = "200"
    ran = subprocess.run(
        [sys.executable, "-c", code, *APPLY], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "[otel]" in ran.stderr
    assert box.audit().links == 11


def test_records_name_their_run_and_request(caplog: pytest.LogCaptureFixture) -> None:
    """Attributes that any format can show, without secrets; empty where there are none."""
    keep_secret("a-secret-of-16-characters")
    logger = logger_of("incarts_pipeline.test")
    with caplog.at_level(logging.WARNING), records_of_run("run-1"):
        logger.warning("one", extra={"correlation_id": "c-1\x1b a-secret-of-16-characters"})
    logger.warning("two")
    one, two = caplog.records
    assert (one.run_id, two.run_id, two.correlation_id) == ("run-1", "", "")
    assert one.correlation_id.startswith("c-1\\x1b ")
    assert "a-secret" not in one.correlation_id


@pytest.mark.slow
def test_log_format_json_is_one_object_a_line(box: Sandbox) -> None:
    """What Incarts made the program note has time, level, logger and run."""
    code = (
        "import logging\nfrom incarts_pipeline.outgoing import logger_of, records_of_run\n"
        "from incarts_pipeline.cli import main\n"
        "try: main()\nfinally:\n with records_of_run('run-7'):\n"
        "  logger_of('x').warning('a line\\nand more', extra={'correlation_id': 'c-7'})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, "--log-format", "json", "status", "--json"],
        env=prepared(box),
        capture_output=True,
        text=True,
    )
    told = [json.loads(line) for line in ran.stderr.splitlines()]
    assert told[0]["message"].startswith("There is no ledger")
    found = told[-1]
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "warning",
        "logger": "x",
        "message": "a line\\nand more",
        "run_id": "run-7",
        "correlation_id": "c-7",
    }
