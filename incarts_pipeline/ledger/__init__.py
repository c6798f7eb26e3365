"""The memory of what was sent: one SQLite file, its states, and its one writer."""
