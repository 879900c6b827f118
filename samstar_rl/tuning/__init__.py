"""The protocol of tuners: what they see of a frame, how their choices are evaluated and charged.

`tuner` is the protocol and the one evaluate loop, `objective` what all maximise, `evaluable_frames`
the frames of banks and microscopes behind one face.
"""
