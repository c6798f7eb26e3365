"""Tests of suggested mappings."""
