"""Rewrites of DuckDB trees before they are typed: each module holds one pass, named after it."""
