"""Schedulers on the learning curves of six real tasks, under a virtual clock.

`data` reads the tasks, `trace` says how a run is judged, `ours` and `peers` drive the schedulers over the same curves,
`page` writes the table and the plot. The benchmark itself is `benchmarks.suite.taskset_regret`.
"""
