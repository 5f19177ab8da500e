"""The loop of a run, and the runtimes that carry out the commands of the core."""
