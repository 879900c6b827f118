"""Packed masks and what is computed of them.

`store` holds the masks of a frame, `pixel_runs` and `box_nms` compare them, `region_cleaning` fills
holes, `particle_table` measures them. Nothing here knows of settings or scores.
"""
