"""Comparison with labels, for judging only: no reward may import this room."""
