"""Networks that stand in for segment_anything's own encoder.

`tiny` is the embedded SAM, `tiny_vit` MobileSAM's; both are built with random weights, which
`samstar_rl.sam.load` fills.
"""
