"""Entry point of `python -m ddpkit`, with which ranks are started."""

import sys

from ddpkit.cli.main import main

sys.exit(main())
