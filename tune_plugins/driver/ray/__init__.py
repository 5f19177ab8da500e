"""Trials in warm worker processes on Ray. Only this package imports `ray`."""
