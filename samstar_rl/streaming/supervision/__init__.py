"""Tuners around tuners: guard and switches of the live loop."""
