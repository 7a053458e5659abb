"""One file a verb of the command line, imported when it is used."""
