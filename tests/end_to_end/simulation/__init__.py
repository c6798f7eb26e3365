"""A world in which everything that can break does, by a seeded schedule that can be repeated.

`server` is an Incarts that forgets, `ledgers` two ledgers with one face (a model in memory, and the
real statements on SQLite), `process` what one run does step by step, `world` the clocks and the
schedule that lets runs crash, freeze and overlap, `checks` what must be true whatever happened,
`carelessness` what comes of it when a rule is broken.
"""
