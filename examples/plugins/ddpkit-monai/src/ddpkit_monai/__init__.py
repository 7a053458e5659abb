"""Components of MONAI for ddpkit; `plugin.py` declares them."""
