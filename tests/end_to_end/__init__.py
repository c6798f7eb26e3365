"""Tests of real processes, kills, faults, browsers, Dagster and simulations."""
