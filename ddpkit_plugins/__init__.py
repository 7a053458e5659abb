"""Built-in components. Each module is a plugin like any other: found by its entry point, written against `ddpkit`."""
