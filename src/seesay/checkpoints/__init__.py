"""Files to modules and back: formats, key maps, our own layout, the hub."""
