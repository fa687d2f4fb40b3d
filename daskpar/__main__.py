"""`python -m daskpar`."""

from daskpar.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
