"""Tests of what may be seen of outgoing texts."""
