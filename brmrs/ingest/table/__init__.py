"""Tables of your own: CSV, TSV, JSON lines, Parquet, RecBole's atomic files; vectors of items."""
