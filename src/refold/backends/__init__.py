"""Storage backends; :mod:`refold.connect` chooses one by URL."""
