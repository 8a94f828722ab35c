"""How good a network is: the figures of each task, measured the same way for Keras and for artifacts.

It needs NumPy, for detection pycocotools, for plots matplotlib (extra ``[eval]``); never Keras or TensorFlow.
"""
