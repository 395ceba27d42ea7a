"""Measurements: how long the operators take, how much memory, how exact they are. See docs/speed.md."""
