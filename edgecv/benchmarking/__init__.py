"""Benchmark: how long artifacts and Keras networks take, what memory they need, and where the time goes."""
