"""Labelled pictures: read from the usual formats, checked, split, converted. It needs neither Keras nor TensorFlow."""
