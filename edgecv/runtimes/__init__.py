"""The built-in runtimes, found by their entry points."""
