"""The protocol of two workers on one ledger as a finite model, explored to its last state.

`rules` is what can be broken, `rows` the values, `ledger` the transactions, `steps` what a worker
and the server may do next with one row, `worlds` two rows and two workers with crashes, cuts and
time, `explore` the search, breadth first. `python -m tests.end_to_end.protocol` prints what
docs/exactly-once.md says of it.

What decides is the library's own: `claims.decide`, `runs.is_alive`, `OperationState`, `ReplayRule`.
"""
