"""The hyperparameters that ship: a TOML file a learner, read by `hyperparameters`."""
