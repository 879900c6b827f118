"""Readers of image files and arrays: planes, pixel sizes, formats."""
