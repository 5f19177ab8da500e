"""The pure core: what happens to trials, as a function of events. No Ray, clock, files, threads or framework."""
