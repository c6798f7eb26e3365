"""SQLite behind the ledger: one file, and what stands beside it."""
