"""Built-in components. Each module is a plugin like any other, with an entry point, and imports only public names of `ddpkit`."""
