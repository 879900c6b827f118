"""How comparisons are shown: HTML by a template, figures, and TensorBoard's curves.

Nothing is computed here; what is shown is handed in.
"""
