"""Components of segmentation-models-pytorch for ddpkit; `plugin.py` declares them."""
