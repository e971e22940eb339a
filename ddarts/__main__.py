"""`python -m ddarts` is the command `ddarts`."""

from ddarts.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
