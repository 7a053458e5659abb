"""Command `ddpkit completion SHELL`: print the code that makes a shell complete the arguments of `ddpkit`."""

import argparse

from ddpkit.errors import ExitCode
from ddpkit.terminal import write

ENABLE = {
    "bash": 'add this line to ~/.bashrc: eval "$(ddpkit completion bash)"',
    "zsh": 'add this line to ~/.zshrc, after compinit: eval "$(ddpkit completion zsh)"',
    "fish": "add this line to ~/.config/fish/config.fish: ddpkit completion fish | source",
}
"""Shell -> how to enable the completion."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=ENABLE, help="; ".join(f"{shell}: {line}" for shell, line in ENABLE.items()))


def main(arguments: argparse.Namespace) -> int:
    """Print the code, and how to enable it as a comment."""
    from argcomplete import shell_integration  # noqa: PLC0415 - `--help` does not need it

    code = shell_integration.shellcode(["ddpkit"], use_defaults=False, shell=arguments.shell)
    write(f"{code.strip()}\n# To enable it, {ENABLE[arguments.shell]}\n")
    return ExitCode.DONE
