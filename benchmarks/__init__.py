"""Comparisons with other automatic differentiation systems: verified first, then timed side by side."""
