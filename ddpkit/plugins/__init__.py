"""Plugins: hook specifications, loading of entry points, policy, registry, signatures."""
