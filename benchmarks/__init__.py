"""Benchmarks of tune-plugins beside its peers: ``python -m benchmarks`` (what ``make bench`` calls).

`registry` says what a benchmark is, `suite` holds one module for each, `ours`, `bare` and `peers` are the scripts that
carry out one measurement in a process of its own, `measure` starts them in turn and `table` judges what came of it.
"""
