"""The assets, resources and components of this code location."""
