"""Everything that chooses settings for a frame, behind one protocol."""
