"""dbt's own tests, written once, run in batch and in real time, and compared."""
