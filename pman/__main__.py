"""`python -m pman` is `pman serve`, as it was with the existing pman."""

import sys

from pman.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = [] if len(sys.argv) > 1 else ["serve"]
    main()
