"""How tuners are judged on frames, and the statistics of it."""
