"""The folder of a run: what was done stays done, for one process at a time, and checkpoints of training."""
