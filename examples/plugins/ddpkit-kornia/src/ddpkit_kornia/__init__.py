"""Augmentation of kornia for ddpkit; `plugin.py` declares the transforms."""
