"""Checkpoints: save, verify, restore, resume."""
