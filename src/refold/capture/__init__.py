"""Record what an agent really sent to its model and got back, exactly, in linear space."""
