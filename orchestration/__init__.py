"""The Dagster code location: the lineage from sources to batch and real-time models, and what runs them."""
