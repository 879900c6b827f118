"""Fitting the network that tells how likely a mask is a particle: its samples, and the fit."""
