"""Release: the pinned versions, and what is published."""
