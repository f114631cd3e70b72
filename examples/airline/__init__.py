"""An airline's tools, simulated from what recorded conversations show; see README.md."""
