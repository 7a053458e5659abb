"""The built-in components. Each file is a plugin like anybody's: found by its entry point, written against `ddpkit`."""
