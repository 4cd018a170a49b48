"""What keeps a Prefect server, a worker and a watcher alive."""
