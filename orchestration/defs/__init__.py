"""One folder per integration; `orchestration.definitions` collects them."""
