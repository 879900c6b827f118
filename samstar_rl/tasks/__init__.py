"""What a sample should look like.

`task.load_task` reads a task by name or file; the shipped ones lie in `shipped/`.
`from_frame` estimates a task from an image, `from_simulation` derives one from a simulated stream.
"""
