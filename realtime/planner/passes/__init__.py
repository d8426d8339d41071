"""Rewrites between the authored query and what ClickHouse keeps: each module holds one pass, named after it."""
