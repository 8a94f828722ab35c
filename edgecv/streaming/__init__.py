"""Videos and cameras: frames that are read, answered, and drawn and encoded at the same time."""
