"""Where data is and what it holds: locations, file lists, MLTables."""
