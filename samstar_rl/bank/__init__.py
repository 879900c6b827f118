"""Frames with their proposals on disk, and the ways to build such a bank."""
