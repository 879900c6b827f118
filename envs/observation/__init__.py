"""What an agent observes of a frame: the schema, its builder and its features."""
