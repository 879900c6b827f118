"""Frames from live instruments; `base` holds what every one of them does alike."""
