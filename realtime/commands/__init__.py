"""Groups of commands of `realtime.cli`, and what they work on."""
