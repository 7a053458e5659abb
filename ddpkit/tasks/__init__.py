"""Tasks of a command: train, test, predict. `runner.py` shows a command from start to finish."""
