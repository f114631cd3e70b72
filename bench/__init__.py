"""What refold is measured with: `make bench`, or `python -m bench --help`."""
