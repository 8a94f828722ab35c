"""The formats of labelled data, one module each."""
