"""Checkpoints of a run: save, verify, restore, resume."""
