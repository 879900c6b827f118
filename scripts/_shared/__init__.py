"""What several commands share: options, inputs, progress, and how a command ends."""
