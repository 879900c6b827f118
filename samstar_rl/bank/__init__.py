"""Frames with their proposals on disk, from which agents train without a SAM.

`bank` reads them; `build` makes them, one way for all; `simulated`, `labelled` and `from_sources`
say of which frames; `shards` lets workers compute them.
"""
