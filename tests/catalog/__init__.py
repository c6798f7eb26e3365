"""Tests of tables of every kind."""
