"""Everything that chooses settings for a frame, behind the protocol of `samstar_rl.tuning`.

`fixed` does not look at the frame, `search` searches on each, `policy` answers at once from what it
sees. `samstar_rl.agents.registry` makes them by name.
"""
