"""Segment Anything: models, and masks for a frame.

`load.load_sam` loads the embedded model (`tiny`, its weights in `weights/`) or an official
checkpoint; `engine.ProposalEngine` proposes masks; `mask_generator.MaskGenerator` is the drop-in
for segment_anything's own generator. The other modules are the engine's stages.
"""
