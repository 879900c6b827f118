"""The protocol of tuners: what they see of a frame, how their choices are evaluated."""
