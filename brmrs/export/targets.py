"""What can be exported, and how recommendations are written. Imports nothing heavy."""

from enum import StrEnum


class Target(StrEnum):
    """What is exported: vectors, recommendations, or the data for a toolbox."""

    VECTORS = "vectors"
    RECOMMENDATIONS = "recommendations"
    MMREC = "mmrec"
    RECBOLE = "recbole"
    ELLIOT = "elliot"
    CORNAC = "cornac"


class Form(StrEnum):
    """How recommendations are written."""

    PARQUET = "parquet"
    CSV = "csv"
    JSON_LINES = "jsonl"
