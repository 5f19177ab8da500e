"""The process that runs trials: the other side of the process boundary."""
