"""Tests of the Dagster integration."""
