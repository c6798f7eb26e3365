"""Dagster integration: a resource, a component for YAML, and a builder of assets for Python."""

from importlib.metadata import PackageNotFoundError, version

from dagster_shared.libraries import DagsterLibraryRegistry

from incarts_pipeline.dagster.asset import build_incarts_links_asset, build_incarts_links_job
from incarts_pipeline.dagster.component import IncartsLinksComponent
from incarts_pipeline.dagster.config import LinksConfig, Mode
from incarts_pipeline.dagster.engines import SparkTable
from incarts_pipeline.dagster.resource import IncartsResource
from incarts_pipeline.dagster.sources import DuckDbTable

__all__ = [
    "DuckDbTable",
    "IncartsLinksComponent",
    "IncartsResource",
    "LinksConfig",
    "Mode",
    "SparkTable",
    "build_incarts_links_asset",
    "build_incarts_links_job",
]

try:
    _VERSION = version("incarts-pipeline")
except PackageNotFoundError:  # run from a source tree that is not installed
    _VERSION = "0"
# What every Dagster library does, so that the UI can show which version it runs.
DagsterLibraryRegistry.register("incarts-pipeline", _VERSION, is_dagster_package=False)
