"""What a run shows on the terminal: start, progress, epochs, end."""
