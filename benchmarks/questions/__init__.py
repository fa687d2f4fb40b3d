"""One file for each question; `ask(bench)` runs its series and gives back the bars that it answers."""
