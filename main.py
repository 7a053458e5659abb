"""Entry point for torchrun; `torchrun --nproc_per_node=2 main.py --config x.toml --task train` starts the run of `ddpkit run`."""

import sys

from ddpkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
