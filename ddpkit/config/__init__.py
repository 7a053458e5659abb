"""From TOML to a checked config, and from it to components."""
