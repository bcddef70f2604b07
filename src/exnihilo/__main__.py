"""`python -m exnihilo`."""

from exnihilo.cli.main import main

if __name__ == "__main__":
    main()
