"""One thin Prefect task per stage; `stage.py` gives each its cache."""
