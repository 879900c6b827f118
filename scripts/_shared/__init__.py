"""What several commands share: options, errors, progress, inputs."""
