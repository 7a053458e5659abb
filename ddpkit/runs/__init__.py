"""Outputs of a run: run folder, history, console, log, loggers."""
