"""Searchers on tables of real trainings: ``python -m benchmarks.search``.

`tables` reads the tables and says how a run is judged, `ours` and `peers` drive the searchers, `page` writes what came
out into the documentation. Every run is kept when it is done, so that a benchmark that was broken off goes on.
"""
