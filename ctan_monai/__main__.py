"""Run the command line with ``python -m ctan_monai``."""

from ctan_monai.apps.main import main

if __name__ == "__main__":
    main()
