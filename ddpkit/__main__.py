"""`python -m ddpkit`: how ranks are started."""

import sys

from ddpkit.cli.main import main

sys.exit(main())
