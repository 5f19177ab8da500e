"""Scripts as users have them, timed from ``python script.py`` on; see `benchmarks.suite.cold_start`."""
