"""Report of a run: one HTML page and pictures of its curves, made from the run folder alone. It imports no torch."""
