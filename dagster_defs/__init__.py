"""A code location that runs as it is: the sample catalog's links as a Dagster asset."""
