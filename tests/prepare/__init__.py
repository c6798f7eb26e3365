"""Tests of link requests."""
