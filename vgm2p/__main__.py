"""Entry point of `python -m vgm2p <command>`."""

from vgm2p.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
