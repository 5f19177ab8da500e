"""The benchmarks, one module each, found by `benchmarks.registry.discover`.

A module defines ``BENCHMARK`` and the work functions that its jobs name. It is imported by the Python of every side,
so at its top it imports nothing but the standard library and `benchmarks`.
"""
