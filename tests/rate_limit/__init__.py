"""Tests of rate control."""
