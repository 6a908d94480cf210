"""`python -m helpers`: the command `cookbook` without an installation."""

import sys

from helpers.cli import main

sys.exit(main())
