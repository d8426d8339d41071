"""SQL that is authored for other warehouses, written in DuckDB with the meaning it has there."""
