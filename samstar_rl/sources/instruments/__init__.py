"""Live servers of instruments, a source each, and beside each a simulator of its server.

`asyncroscopy` (until January 2026), `tango` (asyncroscopy since), `dtmicroscope` and `pva` (EPICS
areaDetector) share `base`. ``NAME_sim`` serves on loopback what the real server does, its refusals
included, with a specimen from `specimen`; ``samstar dev simulate-instrument NAME`` starts one.
"""
