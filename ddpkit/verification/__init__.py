"""Promises proven on a user's own config, plugins and data: `ranks` (verify-ddp) and `resuming` (verify-resume)."""
