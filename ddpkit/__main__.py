"""`python -m ddpkit`: how ranks are started."""

import sys

from ddpkit.cli import main

sys.exit(main())
