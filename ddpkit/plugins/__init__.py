"""Plugins: hook specifications, entry points, registry, signatures."""
