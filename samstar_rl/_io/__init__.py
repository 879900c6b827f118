"""Files that are complete or absent, run folders, the cache, arrays on disk, workers.

Nothing here knows what a micrograph is.
"""
