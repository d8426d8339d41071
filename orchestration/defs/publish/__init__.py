"""The copies of what only batch computes."""
