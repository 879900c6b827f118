"""Packed masks and what is computed of them: pixel runs, overlaps, suppression, cleaning, the particle table."""
