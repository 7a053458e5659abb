"""Comparison of runs: config keys, results, folds. It imports no torch."""
