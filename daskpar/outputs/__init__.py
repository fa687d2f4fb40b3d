"""What a step commits and what becomes of it: journal, checks, the one ordered output, output folders."""
