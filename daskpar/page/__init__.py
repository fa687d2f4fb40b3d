"""What a browser gets: the page of a run, live or as a report that stands alone. One drawing for both."""
