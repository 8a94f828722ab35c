"""Weights: published ones where they are at hand, seeded random ones, or a file's."""
