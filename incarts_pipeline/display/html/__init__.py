"""HTML of cards, reports and sheets."""
