"""HTML parts of cards, reports and sheets."""
