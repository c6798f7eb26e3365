"""PostgreSQL behind the ledger: for many hosts, and wherever disks don't last."""
