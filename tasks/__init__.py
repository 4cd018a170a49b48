"""One Prefect task per stage, with its cache in `stage.py`."""
