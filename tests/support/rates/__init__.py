"""A controller against limits of every kind, in simulated time."""
