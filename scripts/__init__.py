"""The commands: a file each, which parses its arguments and calls one function of the library.

At their top these modules import nothing heavy, so that help and mistakes are answered at once.
"""
