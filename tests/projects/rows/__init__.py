"""Rows for the projects: a few thousand each, made by chance from a seed, with all that goes wrong in real data."""
