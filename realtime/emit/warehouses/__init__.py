"""A project written for DuckDB, emitted as a dbt project for another warehouse (`postgres`, `snowflake`).

`translate` types a model by DuckDB's binder as `realtime.transpile` does, and writes it by the tables in `rules`:
what no table lists is refused. `project` makes the files.
"""
