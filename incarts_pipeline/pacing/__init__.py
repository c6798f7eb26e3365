"""When the next request may go: rates that are given, learned, and shared by processes. Pure."""
