"""The formats that labelled boxes can be written as, one module each."""
