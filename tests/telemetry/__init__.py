"""Tests of what goes to an observability backend."""
