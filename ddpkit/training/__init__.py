"""The training loop and its parts, built from objects: `trainer.py` is the loop."""
