"""One command from top to bottom: `runner.py` is the map; train, test, predict."""
