"""Training: labelled pictures and an architecture's name to a folder that `edgecv export` takes."""
