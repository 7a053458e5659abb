"""A run on disk and on screen: folder, history, console, loggers."""
