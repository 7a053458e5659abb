"""Checks of this machine and its installation (`ddpkit doctor`). The modules import torch only inside the checks that need it."""
