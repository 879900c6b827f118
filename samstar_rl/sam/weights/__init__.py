"""The weights of the embedded SAM, and their model card."""
