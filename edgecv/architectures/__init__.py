"""The networks that edgecv builds. `catalog` describes them; one module per family builds them."""
