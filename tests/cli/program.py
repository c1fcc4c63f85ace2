"""The program as a module, for shells of tests that do not have it on their path."""

from xmatch_hats.cli import main

if __name__ == "__main__":
    main()
