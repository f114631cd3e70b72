"""`python -m refold`: the same program as the `refold` command."""

from refold.cli.main import main

if __name__ == "__main__":
    main()
