"""How tuners are judged on the frames of a bank, and the statistics of it.

Ground truth enters here, after a tuner has chosen, and nowhere before.
"""
