"""Cards, sheets and reports."""
