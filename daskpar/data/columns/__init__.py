"""Columns of values: their kinds, dates, conversions, and what Arrow has no type for."""
