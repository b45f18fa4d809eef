"""The command line, for who has a Python and no script: `python -m trivet.standalone`."""

import sys

from trivet.standalone.cli import main

sys.exit(main())
