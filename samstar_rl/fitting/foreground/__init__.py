"""The training of the foreground network: samples, the training itself, how it is judged."""
