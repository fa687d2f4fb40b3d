"""Data: lists of files, kinds of columns, stored formats, tables, and MLTables that describe them."""
