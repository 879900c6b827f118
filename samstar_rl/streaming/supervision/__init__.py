"""Tuners around tuners: guard, deadline and switches of the live loop."""
