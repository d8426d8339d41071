"""The authored project on the batch target and the generated one on ClickHouse, as dbt assets."""
