"""What a run leaves behind: run directory, journal, part files, the one ordered output."""
