"""The questions, one folder per area of the catalogue."""
