"""Where frames come from: folders, files, instruments and simulations.

`registry.open_source` opens any of them by its address; each is a context manager that iterates
frames (`base`). `instruments/` holds live servers, `readers/` files and arrays.
"""
