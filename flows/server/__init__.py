"""A Prefect server, a worker and a watcher that are kept running."""
