"""Where particles are likely on a frame.

`network` maps a frame to probabilities, `estimate` makes a foreground of bodies from them for a
`Sample`, whose traits `sample` describes. Used by the engine, the evidence and the score.
"""
