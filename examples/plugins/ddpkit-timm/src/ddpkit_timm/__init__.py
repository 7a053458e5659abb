"""Components of timm for ddpkit; `plugin.py` declares them."""
