"""What a deploy makes in ClickHouse: landing tables and states."""
