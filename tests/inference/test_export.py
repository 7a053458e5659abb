"""Exports by the real command; the exported file is read without ddpkit."""

import json
import math
import re
import shutil
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from ddpkit import DdpkitError, load, run
from ddpkit.cli.export import FORMATS
from ddpkit.cli.main import main
from ddpkit.inference.export import compare_outputs
from tests.helpers.configs import BLOBS, SHAPES

ROOT = Path(__file__).parents[2]
ONNX = ("onnx", "onnxscript", "onnxruntime")
ENDINGS = {"torchscript": "pt", "onnx": "onnx", "torch-export": "pt2"}
CLASSIFIER = BLOBS.replace(
    "[train]", '[transform]\nRESIZE = [8, 8]\nPIL_TO_TENSOR = []\nCONVERT_IMAGE_DTYPE = ["float64"]\n[train]'
)
CLASSIFIER += 'scaler = { compute_type = "float64" }\n[predict.config]\nmode = "L"\n'
STRANGE = '''
import torch
from torch import nn
from ddpkit import Component, hookimpl

@hookimpl
def ddpkit_models():
    yield Component("strange", "strange:Strange")

class Strange(nn.Module):
    """Draws in each forward, fixes the batch size, or returns two tensors."""

    def __init__(self, does: str = ""):
        super().__init__()
        self.layer, self.does = nn.Linear(64, 2), does

    def forward(self, images):
        if self.does == "fix":
            return self.layer(images.reshape(int(images.shape[0]), 64))
        if self.does.startswith("many") and self.does[4:].isdigit() and images.shape[0] > int(self.does[4:]):
            return 2 * self.layer(images.flatten(1))
        if self.does == "many numbers" and images.numel() > 64 * 6:
            return 2 * self.layer(images.flatten(1))
        if self.does == "largest":
            return self.layer(images.flatten(1)) * max(images.shape[0], 4) / 4
        if self.does == "even" and images.shape[0] % 2 == 0:
            return 2 * self.layer(images.flatten(1))
        outputs = self.layer(images.flatten(1))
        return {"draw": outputs + torch.rand_like(outputs), "pair": (outputs, outputs)}.get(self.does, outputs)
'''


def trained(folder, text, **values):
    (folder / "x.toml").write_text(text)
    return run(folder / "x.toml", {"output_dir": str(folder / "runs"), "run_id": "first", "train.epoch": 1, **values}).folder


@pytest.fixture(scope="module")
def classifier(acme, tmp_path_factory):
    """A finished run in float64; tests must not change it."""
    return trained(tmp_path_factory.mktemp("classifier"), CLASSIFIER)


@pytest.fixture(scope="module")
def unet(tmp_path_factory):
    small = {"n_channels": 1, "n_classes": 1, "depth": 1, "width": 2, "input_sizes": [[2, 1, 16, 24]]}
    text = (ROOT / "configs/ddp_segmentation.toml").read_text()
    values = {"model.config": small, "device": "cpu", "ddp.nproc": 1, "train.channels_last": True}
    return trained(tmp_path_factory.mktemp("unet"), text, **values)


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strange")
    (folder / "strange.py").write_text(STRANGE)
    return trained(folder, BLOBS + f'[plugins]\nfiles = ["{folder}/strange.py"]\n', **{"model.name": "strange"})


@pytest.fixture
def mine(request, tmp_path, monkeypatch):
    """A copy of the run named by the test, in the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(request.getfixturevalue(request.param), tmp_path / "mine")
    return tmp_path / "mine"


def on_run(name):
    return pytest.mark.parametrize("mine", [name], indirect=True)


def read(file):
    """The exported file as read by a program without ddpkit."""
    if file.suffix == ".pt2":
        return torch.export.load(file).module()
    if file.suffix == ".pt":
        with warnings.catch_warnings(action="ignore"):
            return torch.jit.load(file)
    session = pytest.importorskip("onnxruntime").InferenceSession(file)
    return lambda images: torch.from_numpy(session.run(["outputs"], {"images": images.numpy()})[0])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("mine", "shape"), [("classifier", (1, 8, 8)), ("unet", (1, 16, 24))], indirect=["mine"])
def test_an_exported_file_matches_the_model_at_any_batch_size(mine, kind, shape, capsys):
    for library in ONNX if kind == "onnx" else ():
        pytest.importorskip(library)

    assert main(["export", str(mine), "--format", kind]) == 0

    file = mine / f"exports/{kind}.{ENDINGS[kind]}"
    facts, call, model = json.loads(Path(f"{file}.json").read_text()), read(file), load(mine, device="cpu").model.float()
    assert capsys.readouterr() == (f"{file}\n", "")
    assert sorted(each.name for each in file.parent.iterdir()) == [file.name, f"{file.name}.json"]
    assert facts["input"] == {"name": "images", "shape": ["N", *shape], "dtype": "float32", "mode": "L"}
    assert 0 <= facts["largest_difference"] < 1e-5
    for n in (1, 5):
        images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(n))
        torch.testing.assert_close(call(images), model(images), rtol=1e-4, atol=1e-5)


@on_run("classifier")
def test_the_metadata_file_describes_the_export(mine):
    assert (
        main(["export", str(mine), "--format", "torchscript", "--weights", "last", "--batch", "3", "--output", "new/net.pt"]) == 0
    )

    facts = json.loads(Path("new/net.pt.json").read_text())
    assert facts.pop("largest_difference") < 1e-5
    assert facts == {
        "format": "torchscript",
        "input": {"name": "images", "shape": [3, 1, 8, 8], "dtype": "float32", "mode": "L"},
        "classes": ["left", "right"],
        "transforms": {"RESIZE": [8, 8], "PIL_TO_TENSOR": [], "CONVERT_IMAGE_DTYPE": ["float64"]},
        "postprocess": {"type": "classification", "config": {}},
        "run": "mine",
        "weights": str(mine / "weights/last.safetensors"),
        "versions": {"ddpkit": "0.1.0", "torch": version("torch")},
    }
    assert not (mine / "exports").exists()


@on_run("classifier")
def test_export_uses_the_requested_weights(mine):
    zeros = {name: torch.zeros_like(each) for name, each in load(mine).model.state_dict().items()}
    torch.save(zeros, "zeros.pth")

    assert main(["export", str(mine), "--format", "torch-export", "--weights", "zeros.pth"]) == 0

    assert not read(mine / "exports/torch-export.pt2")(torch.ones(2, 1, 8, 8)).any()


@on_run("classifier")
def test_an_existing_file_is_replaced_only_with_force(mine, capsys):
    for name in ("net.pt", "other.pt.json"):
        (mine.parent / name).write_text("kept")
    asked = ["export", str(mine), "--format", "torchscript"]

    assert main([*asked, "--output", "mine", "--force"]) == 2
    assert f"--output: {mine} is a folder; pass the path of a file" in capsys.readouterr().err
    assert [main([*asked, "--output", name]) for name in ("net.pt", "other.pt")] == [2, 2]
    assert f"--output: {mine.parent}/net.pt already exists; use --force to replace it" in capsys.readouterr().err
    assert Path("net.pt").read_text() == Path("other.pt.json").read_text() == "kept"
    assert not Path("other.pt").exists()

    assert main([*asked, "--output", "net.pt", "--force"]) == 0
    assert read(Path("net.pt"))(torch.ones(2, 1, 8, 8)).shape == (2, 2)
    assert json.loads(Path("net.pt.json").read_text())["format"] == "torchscript"


@on_run("classifier")
def test_a_gpu_run_is_exported_without_a_gpu(mine):
    file = mine / "config.toml"
    of_gpus = file.read_text().replace('device = "cpu"', 'device = "cuda"').replace('backend = "auto"', 'backend = "nccl"')
    file.write_text(of_gpus.replace('compute_type = "float64"', 'compute_type = "float16"').replace("nproc = 1", "nproc = 2"))

    assert main(["export", str(mine), "--format", "torch-export"]) == 0


@on_run("strange")
@pytest.mark.parametrize("kind", ["torchscript", "torch-export"])
def test_an_export_that_differs_from_the_model_is_not_kept(mine, capsys, kind):
    set_model(mine, 'does = "draw"')
    (mine / "exports").mkdir()
    (mine / f"exports/{kind}.{ENDINGS[kind]}").write_text("the one before")

    assert main(["export", str(mine), "--format", kind, "--force"]) == 1

    err = capsys.readouterr().err
    assert f"the outputs of the {kind} file differ by " in err
    assert "of the largest output, above the limit 1e-04; the forward may draw random numbers" in err
    assert [each.read_text() for each in (mine / "exports").iterdir()] == ["the one before"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([[2.0, math.nan]], "file differ by nan of the largest output"),
        ([[2.0, 1.0003]], "file differ by 1.5e-04 of the largest output, above the limit 1e-04"),
        ([[2.0]], r"returns outputs of shapes \[\[1, 1\]\], but the model returns \[\[1, 2\]\]"),
    ],
)
def test_compare_outputs_rejects_deviations(found, message):
    wanted = [torch.tensor([[2.0, 1.0]])]

    assert compare_outputs([torch.tensor([[2.0, 1.0001]])], wanted, "onnx") == pytest.approx(5e-5, rel=1e-2)
    with pytest.raises(DdpkitError, match=message):
        compare_outputs([torch.tensor(found)], wanted, "onnx")


@on_run("strange")
@pytest.mark.parametrize(
    ("kind", "does", "message"),
    [
        ("torchscript", "fix", "the model's forward depends on the batch size: "),
        ("torchscript", "many4", "the model's forward depends on the batch size: "),
        ("torchscript", "many500", "the model's forward depends on the batch size: "),
        ("torchscript", "even", "the model's forward depends on the batch size: "),
        ("torchscript", "many numbers", "the model's forward depends on the batch size: "),
        ("torchscript", "largest", "the outputs of the torchscript file differ by"),
        ("torch-export", "fix", "the model cannot be exported as torch-export: Constraints violated (batch)!"),
        ("torch-export", "many500", "the model cannot be exported as torch-export: Constraints violated (batch)!"),
    ],
)
def test_a_model_that_depends_on_the_batch_size_needs_the_batch_option(mine, capsys, kind, does, message):
    set_model(mine, f'does = "{does}"')

    assert main(["export", str(mine), "--format", kind]) == 1
    assert message in (err := capsys.readouterr().err)
    assert err.endswith(("--batch 1\n", "try another --format\n"))
    assert not list((mine / "exports").iterdir())

    assert main(["export", str(mine), "--format", kind, "--batch", "4"]) == 0


@on_run("strange")
def test_a_model_without_a_tensor_output_is_rejected(mine, capsys):
    set_model(mine, 'does = "pair"')

    assert main(["export", str(mine), "--format", "torchscript"]) == 2
    assert "single tensor can be exported, but this model returns a tuple" in capsys.readouterr().err


def set_model(folder, text):
    """Give the model of a run a parameter."""
    file = folder / "config.toml"
    file.write_text(file.read_text().replace("[model.config]\n", f"[model.config]\n{text}\n"))


def test_a_detector_is_rejected(acme, tmp_path, capsys):
    folder = trained(tmp_path, SHAPES, **{"dataset.config.n": 8, "train.batch_size": 2})

    assert main(["export", str(folder), "--format", "torchscript"]) == 2
    assert "single tensor can be exported, but this model returns boxes" in capsys.readouterr().err
    assert not (folder / "exports").exists()


@on_run("classifier")
def test_a_missing_library_is_named_with_its_pip_line(mine, capsys, monkeypatch):
    for library in ("onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, library, None)

    assert main(["export", str(mine), "--format", "onnx"]) == 3
    assert "--format: the format 'onnx' requires " in (err := capsys.readouterr().err)
    assert "onnxscript, onnxruntime; install with: pip install 'ddpkit[onnx]'" in err


@on_run("classifier")
def test_an_unknown_image_shape_requires_the_size_option(mine, capsys):
    file = mine / "config.toml"
    file.write_text(re.sub(r"RESIZE = \[[^]]*\]\n", "", file.read_text()))
    assert main(["export", str(mine), "--format", "torchscript", "--output", "recorded.pt"]) == 0
    (mine / "model.json").unlink()

    assert main(["export", str(mine), "--format", "torchscript"]) == 2
    assert "--size: the run does not define the shape of its images; pass it, as in --size 3x64x64" in capsys.readouterr().err
    assert main(["export", str(mine), "--format", "torchscript", "--size", "1x9x8"]) == 2
    assert "--size: the model does not accept images of shape [1, 1, 9, 8]: mat1 and mat2 shapes" in capsys.readouterr().err
    assert main(["export", str(mine), "--format", "torchscript", "--size", "1x8x8"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", "--format", "tflite"], "--format: invalid choice: 'tflite' (choose from "),
        (["mine", "--format", "onnx", "--size", "3x0x4"], "--size: must be a shape such as 3x64x64; got '3x0x4'"),
        (["mine"], "the following arguments are required: --format"),
    ],
)
def test_an_invalid_option_is_rejected(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])

    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@on_run("classifier")
def test_an_unwritable_output_path_is_rejected(mine, capsys):
    Path("file").touch()

    assert main(["export", str(mine), "--format", "torchscript", "--output", "file/net.pt"]) == 6
    assert "cannot be written: File exists; free disk space, or pass another path" in capsys.readouterr().err
