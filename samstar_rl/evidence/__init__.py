"""What is known of a frame for a sample, and of single masks on it.

`frame_evidence` is its owner: one object, which the frame keeps. `mask_evidence` describes how a
mask lies on the image and its foreground, `facets` counts its sides, `likeness` tells how likely it
is a particle. All take particle tables, never segmentations: those lie above.
"""
