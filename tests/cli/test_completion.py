"""Bash, zsh and fish complete the arguments of ddpkit."""

import argparse
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ddpkit.cli import completers, main
from ddpkit.cli.config_keys import schema_keys
from tests.helpers.configs import BLOBS

SCRIPT = """\
source <(ddpkit completion bash)
while IFS= read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE}
    COMPREPLY=()
    _python_argcomplete ddpkit
    printf '%s\\t' "$COMP_LINE" "${COMPREPLY[@]}"
    printf '\\n'
done
"""
"""Bash script that prints the words for each line of stdin."""
COMPLETED = {
    "ddpkit ve": ["verify", "verify-ddp", "verify-resume"],
    "ddpkit run ": ["blobs.toml", "bad.toml", "local.toml", "folder/"],
    "ddpkit run --dr": ["--dry-run"],
    "ddpkit completion ": ["bash", "fish", "zsh"],
    "ddpkit describe met": ["metric"],
    "ddpkit which model acme/tinyn": ["acme/tinynet"],
    "ddpkit which model builtin/resnet1": ["builtin/resnet18", "builtin/resnet101"],
    "ddpkit list model torchvision/vit_b": ["torchvision/vit_b_16", "torchvision/vit_b_32"],
    "ddpkit explain blobs.toml train.optimizer.mom": ["train.optimizer.momentum"],
    "ddpkit explain blobs.toml metrics[0].ty": ["metrics\\[0\\].type"],
    "ddpkit check -p no:acme": ["acme", "acme.every"],
    "ddpkit run --set train.epoch=3 --set=train.optimizer.l": ["train.optimizer.learning_rate="],
    "ddpkit run blobs.toml --set model.config.hid": ["model.config.hidden="],
    "ddpkit run blobs.toml --set model.name=resnet18 --set model.config.n_ch": ["model.config.n_channels="],
    "ddpkit run --set ddp.enabled=": ["false", "true"],
    "ddpkit run --set ddp.nproc=": ["auto"],
    "ddpkit run --set train.optimizer=ada": ["adadelta", "adagrad", "adam", "adamw"],
    "ddpkit run --set dataset.root_dir=./f": ["./folder/"],
    "ddpkit run --set extends": [],
    "ddpkit test missing --set train.ep": ["train.epoch="],
    "ddpkit test folder --weights ": ["best", "ema-best", "last", "bad.toml", "blobs.toml", "local.py", "local.toml", "folder/"],
    "ddpkit predict folder images --format nu": ["numpy"],
    "ddpkit run bad.toml --set train.ep": ["train.epoch="],
    "ddpkit run blobs.toml --set =3 --set model.config.hid": ["model.config.hidden="],
    "ddpkit explain bad.toml tr": [],
    "ddpkit run local.toml --set model.config.hid": ["model.config.hidden="],
    "ddpkit run --set no_key=": [],
    "ddpkit preview blobs.toml --samples ": [],
}
"""Command line up to the cursor -> words that can replace the last one; bash gets only the part after `:` or `=`."""


@pytest.fixture(scope="module")
def folder(acme, tmp_path_factory):
    """Folder with configs and weights, and a broken plugin that prints."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "blobs.toml").write_text(BLOBS)
    (folder / "local.toml").write_text(f'{BLOBS}\n[plugins]\nfiles = ["local.py"]\n')
    (folder / "local.py").write_text("from pathlib import Path\nPath('was_run').touch()\n")
    (folder / "bad.toml").write_text("train = = 3\n")
    (folder / "folder/weights").mkdir(parents=True)
    (folder / "folder/weights/ema-best.safetensors").touch()
    info = folder.with_name("noisy") / "noisy-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[ddpkit]\nnoisy = noisy_plugin\n")
    (info.parent / "noisy_plugin.py").write_text("import sys\nprint('noise')\nsys.stderr.write('noise')\n1 / 0\n")
    return folder


def environment(folder):
    path = os.pathsep.join([str(folder.with_name("noisy")), os.environ.get("PYTHONPATH", "")])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": path, "PATH": programs, "HOME": str(folder)}


@pytest.fixture(scope="module")
def completed(folder):
    """Line -> words that bash gets, and the text that it prints while completing."""
    lines = "".join(f"{line}\n" for line in COMPLETED)
    command, options = ["bash", "--norc", "-c", SCRIPT], {"input": lines, "capture_output": True, "text": True}
    done = subprocess.run(command, cwd=folder, env=environment(folder), **options, timeout=100, check=True)
    assert done.stderr == ""
    rows = [row.split("\t") for row in done.stdout.splitlines()]
    return {line: {word.strip() for word in words if word} for line, *words in rows}


@pytest.mark.parametrize("line", COMPLETED)
def test_bash_completes_a_line(completed, line):
    assert completed[line] == set(COMPLETED[line])


def test_completion_does_not_run_the_plugin_files_of_a_config(folder, completed):
    assert not (folder / "was_run").exists()


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("ddpkit run x.toml", "ddpkit run x.toml"),
        ("CUDA_VISIBLE_DEVICES=0 ddpkit run x.toml", "ddpkit run x.toml"),
        ("cd ddpkit && srun venv/bin/ddpkit test runs/ddpkit ", "venv/bin/ddpkit test runs/ddpkit "),
        ("ddpkit ", "ddpkit "),
    ],
)
def test_the_command_starts_at_the_name_of_the_program(line, command):
    assert completers.find_command(line) == command


def test_completion_does_not_import_torch(folder):
    line = "ddpkit run blobs.toml --set model.config."
    code = f'COMP_LINE="{line}" COMP_POINT={len(line)} _ARGCOMPLETE=1 {sys.executable} -X importtime -P -m ddpkit 8>words'

    done = subprocess.run(["bash", "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)

    assert "model.config.hidden=" in (folder / "words").read_text()
    imported = {row.rpartition("|")[2].strip() for row in done.stderr.splitlines()}
    assert "argcomplete" in imported
    assert not {"torch", "numpy"} & imported


def test_commands_without_completion_do_not_import_argcomplete():
    code = "import sys, ddpkit.cli.main; ddpkit.cli.main.main(['list']); print('argcomplete' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "False"


def test_each_argument_has_words_choices_or_a_free_value():
    free = {"N", "K", "P", "SEED", "CxHxW"}
    parsers = [main.build_parser([name]) for name in main.COMMANDS]
    actions = [action for parser in parsers for action in arguments_of(parser)]

    unknown = {action.metavar for action in actions if action.metavar and not action.choices} - free
    assert len(actions) > 50
    assert unknown <= completers.COMPLETERS.keys(), "add the metavar to COMPLETERS"


def arguments_of(parser):
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [action for each in commands.choices.values() for action in each._actions if action.help != argparse.SUPPRESS]


def test_each_key_with_a_path_exists():
    assert {*completers.PATHS} <= {str(key) for key in schema_keys()}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_words_with_descriptions(folder):
    lines = [
        "CUDA_VISIBLE_DEVICES=0 ddpkit insp",
        "ddpkit run blo",
        "ddpkit run blobs.toml --set model.config.hid",
        "ddpkit describe model tinyn",
    ]
    code = "ddpkit completion fish | source\n" + "".join(f"complete -C '{line}'\n" for line in lines)

    done = subprocess.run(
        ["fish", "-c", code], cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stderr == ""
    assert [row.partition("\t")[::2] for row in done.stdout.splitlines()] == [
        ("inspect", main.COMMANDS["inspect"]),
        ("blobs.toml", ""),
        ("model.config.hidden=", "parameter of acme/tinynet"),
        ("tinynet", "one hidden layer"),
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_words_on_a_terminal(folder):
    setup = 'PS1=; autoload -U compinit; compinit -u; eval "$(ddpkit completion zsh)"; echo read""y\n'
    typed = "CUDA_VISIBLE_DEVICES=0 ddpkit run blo\t--set train.optimizer.ty\tadamw\t-p no:acme.ev\t--set model.config.hid\t"
    expected = "CUDA_VISIBLE_DEVICES=0 ddpkit run blobs.toml --set train.optimizer.type=adamw -p no:acme.every --set model.config.hidden="
    terminal, other_end = pty.openpty()
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), other_end)
    env = {**environment(folder), "TERM": "dumb", "COLUMNS": "500"}
    shell = subprocess.Popen(["zsh", "-f", "-i"], cwd=folder, env=env, **streams, start_new_session=True)
    try:
        os.write(terminal, setup.encode())
        read_until(terminal, "ready")
        for part in typed.split("\t")[:-1]:
            os.write(terminal, f"{part}\t".encode())
            time.sleep(3)  # typed text must not reach the shell before its completion ends
        os.write(terminal, b"\x01echo \n")  # prints the completed line in place of running it
        assert expected in read_until(terminal, f"\n{expected}")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
        os.close(other_end)


def read_until(terminal, text, seconds=20):
    """Return the output of a terminal up to a text, or all that it printed in `seconds`."""
    found, end = "", time.monotonic() + seconds
    while text not in found and (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            found += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")
    return found
