"""The export of landing rows to the lake."""
