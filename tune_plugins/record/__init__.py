"""The durable record of an experiment: one SQLite file, and checkpoints that prove that they are whole."""
