"""Read and write tables: CSV and TSV with Python's ``csv``, Parquet with polars."""
