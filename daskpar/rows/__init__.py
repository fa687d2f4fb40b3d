"""Returned rows: the formats that make bytes of them, and the stores where committed ones lie."""
