"""Every public name of Ray Tune beside ours: ``python -m benchmarks.ray_names`` writes `docs/moving/ray_names.md`.

`collect` runs where Ray Tune is and prints its names and signatures, kept in `names.json`; `compare` holds them against
this package, with what `notes` says of the differences; `page` writes the tables.
"""
