"""Training and judging of the embedded SAM. Nothing else of the package needs this folder."""
