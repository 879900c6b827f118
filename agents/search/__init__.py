"""Searches over settings: one ask/tell driver, static, per frame, and Pareto."""
