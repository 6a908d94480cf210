"""`python -m helpers`: the command `cookbook` where the package is not installed."""

import sys

from helpers.cli import main

sys.exit(main())
