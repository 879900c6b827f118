"""The terms of the score: one module a term, each a pure function with its target."""
