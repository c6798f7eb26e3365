"""Tests of frames and notebooks."""
