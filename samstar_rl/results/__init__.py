"""What is written of a segmented frame: records, tables, pictures and exchange formats."""
