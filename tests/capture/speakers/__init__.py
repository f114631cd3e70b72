"""Each API as its callers and servers speak it, at random, and the events that it comes to."""
