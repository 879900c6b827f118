"""What a sample should look like: task files, read and written, estimated from a frame or a simulation."""
