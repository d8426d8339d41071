"""Models that batch computes and ClickHouse serves: their rows are copied, and put in place of the old ones at once."""
