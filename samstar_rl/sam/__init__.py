"""Segment Anything: loading a model, the embedded one, and the engine that proposes masks for a frame."""
