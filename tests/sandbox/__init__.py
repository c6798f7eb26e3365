"""Tests of the local Incarts."""
