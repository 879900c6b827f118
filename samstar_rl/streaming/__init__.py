"""Streaming: the live run, which acquires, prepares, segments and writes side by side.

The runner holds the stages and the queues between them. Beside it are the folder that a run
resumes in, the sinks of its results, the counters that account for every frame, the supervision
of faults, the feed for an instrument's own script and the dashboard.
"""
