"""From proposals to a segmentation: filters, gates, and the masks that settings leave."""
