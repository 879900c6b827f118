"""Frames: one image from the microscope, from what a detector gives to what SAM takes.

Here are the frame and the frame with its ground truth, the one mapping of intensities that
training and instrument share, what is wrong with a frame before it is segmented, and slopes.
"""
