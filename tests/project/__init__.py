"""Tests of documentation, packaging and public names."""
