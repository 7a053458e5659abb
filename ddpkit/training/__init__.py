"""Training loop (`trainer.py`) and the objects that it uses."""
