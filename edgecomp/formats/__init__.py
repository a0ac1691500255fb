"""The formats that weights can be stored in: their sizes, mixtures and expected losses."""
