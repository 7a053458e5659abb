"""Config: read and check TOML files, and create the components that they name."""
