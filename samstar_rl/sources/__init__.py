"""Where frames come from: folders, files, instruments and simulations, opened by `registry.open_source`."""
