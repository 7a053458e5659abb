"""Entry point of `python -m ddpkit`, the command that starts a rank."""

import sys

from ddpkit.cli.main import main

sys.exit(main())
