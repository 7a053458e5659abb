"""Command line. Each command has one module, which is imported when the command is used."""
