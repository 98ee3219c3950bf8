"""`python -m millwright` is `millwright`."""

from millwright.surfaces.cli import main

if __name__ == "__main__":
    main()
