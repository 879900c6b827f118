"""Everything that chooses settings for a frame, behind the protocol of `samstar_rl.tuning`.

`fixed` does not look at the frame, `search` searches on each, `policy` answers at once from what it
sees, and `filters` tries filters on the masks that came of it. `samstar_rl.agents.registry` makes
them by name.
"""
