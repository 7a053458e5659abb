"""Processes of a run: world, launcher, signals, SLURM."""
