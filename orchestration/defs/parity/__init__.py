"""Batch against real time, as asset checks."""
