"""What a policy sees: which number means what, how it is computed, how it is put together.

The environments, live policies and policy bundles share it.
"""
