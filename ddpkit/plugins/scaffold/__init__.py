"""Files of a new plugin, see `ddpkit new-plugin`."""
