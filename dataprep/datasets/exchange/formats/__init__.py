"""The formats of other tools, one file per format; ``exchange.registry`` finds them."""
