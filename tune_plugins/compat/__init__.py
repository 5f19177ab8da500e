"""Scripts that were written for Ray Tune: `tune.run`, and results under the names that they use."""
