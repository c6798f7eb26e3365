"""Tests of review, import, verify and status."""
