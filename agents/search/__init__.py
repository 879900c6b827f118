"""Searches over settings, all driven by `ask_tell.run_search`.

`static` finds one choice for many frames or one for each, `pareto` a front between terms of the
score; `over_frames` says what a choice comes to, `settings_file` is what ``samstar tune`` writes.
"""
