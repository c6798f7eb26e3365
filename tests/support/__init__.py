"""Helpers of the tests: servers, processes, catalogs and pages."""
