"""File and class names in other Unicode forms, and hints for names that are not found."""

import json
import unicodedata

import pytest
from PIL import Image

from ddpkit_plugins.datasets.coco import CocoDataset
from ddpkit_plugins.datasets.csv_dataset import CsvDataset
from ddpkit_plugins.datasets.image_folder import CustomDataset
from ddpkit_plugins.datasets.mask_folder import MedicalDataset
from ddpkit_plugins.splits.predefined import predefined

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Ärzté") for form in ("NFC", "NFD"))
FORMS = pytest.mark.parametrize(("on_disk", "written"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)], ids=["NFC", "NFD"])


def save(file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 6), 1).save(file, **options)


def table(root, *names):
    (root / "labels.csv").write_text("path,label\n" + "".join(f"{name},cat\n" for name in names), encoding="utf-8")
    return CsvDataset(str(root), [], 0)


def annotations(root, name, category="cat"):
    content = {
        "images": [{"id": 1, "file_name": name, "width": 4, "height": 6}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}],
        "categories": [{"id": 1, "name": category}],
    }
    (root / "annotations.json").write_text(json.dumps(content))


@FORMS
def test_files_are_found_in_any_unicode_form(tmp_path, on_disk, written):
    for folder in ("images", "masks"):
        save(tmp_path / folder / f"{on_disk if folder == 'images' else written}.png")
    save(tmp_path / on_disk / f"{on_disk}.png")
    annotations(tmp_path, f"{written}.png")

    assert len(MedicalDataset(str(tmp_path), [], 0)) == 1
    assert table(tmp_path, f"{written}/{written}.png").samples[0][0] == tmp_path / on_disk / f"{on_disk}.png"
    assert CocoDataset(str(tmp_path), [], 0).annotated[0].file == tmp_path / "images" / f"{on_disk}.png"


@FORMS
def test_classes_are_found_in_any_unicode_form(tmp_path, on_disk, written):
    save(tmp_path / "folders" / on_disk / "0.png")
    save(tmp_path / "images" / "0.png")
    annotations(tmp_path, "0.png", category=on_disk)
    (tmp_path / "labels.csv").write_text(f"path,label\nimages/0.png,{on_disk}\n", encoding="utf-8")

    assert CustomDataset(str(tmp_path / "folders"), [written], 0).classes == [written]
    assert CocoDataset(str(tmp_path), [written], 0)[0][1]["labels"].tolist() == [1]
    assert CsvDataset(str(tmp_path), [written], 0).targets == [0]


def test_two_folders_of_one_class_are_rejected_and_splits_share_a_class(tmp_path):
    for split, name in (("train", COMPOSED), ("valid", DECOMPOSED)):
        save(tmp_path / "splits" / split / name / "0.png")
    for name in (COMPOSED, DECOMPOSED):
        save(tmp_path / "twice" / name / "0.png")
    annotations(tmp_path, "0.png", category=COMPOSED)
    content = json.loads((tmp_path / "annotations.json").read_text())
    content["categories"].append({"id": 2, "name": DECOMPOSED})
    (tmp_path / "annotations.json").write_text(json.dumps(content))

    assert CustomDataset(str(tmp_path / "splits"), [], 0).classes == [COMPOSED]
    with pytest.raises(ValueError, match="class folders whose names differ only in their Unicode form"):
        CustomDataset(str(tmp_path / "twice"), [COMPOSED], 0)
    with pytest.raises(ValueError, match="two categories have the same id or the same name"):
        CocoDataset(str(tmp_path), [], 0)


@FORMS
def test_a_split_file_may_have_another_unicode_form(tmp_path, on_disk, written):
    (tmp_path / "split.json").write_text(json.dumps({"train": [f"{written}.png"]}))

    assert predefined(2, str(tmp_path), {"file": ["a.png", f"{on_disk}.png"]}, file="split.json") == {"train": [1]}


def test_two_unicode_forms_of_one_file_are_rejected(tmp_path):
    save(tmp_path / f"{COMPOSED}.png")

    with pytest.raises(ValueError, match=r"files listed more than once, under names of different Unicode forms: .*zt"):
        table(tmp_path, f"{COMPOSED}.png", f"{DECOMPOSED}.png")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("scans\\0.png", r"0.png; write the names with '/' in place of '\\'$"),
        ("data/scans/0.png", r"; the names already contain the folder 'data', so set the folder above it, or remove 'data/'"),
        ("0.png", r"data/scans/0.png exists, so write 'scans/0.png'"),
        ("scans/0.PNG", r" \(did you mean '0.png'\?\)"),
        ("scans/0", r" \(did you mean '0.png'\?\)"),
        ("scans/7.png", r"7.png$"),
        ("", r"data; a name is empty$"),
        ("x" * 300, r"x$"),
    ],
)
def test_a_missing_file_gets_a_hint(tmp_path, name, hint):
    save(tmp_path / "data/scans/0.png")

    with pytest.raises(ValueError, match="files not found: .*" + hint):
        table(tmp_path / "data", name)


@pytest.mark.parametrize("orientation", [1, 6])
def test_exchanged_sides_name_the_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (4, 6) if orientation == 6 else (6, 4)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", size if folder == "images" else (4, 6)).save(
            tmp_path / folder / "a.png", exif=exif if folder == "images" else None
        )
    annotations(tmp_path, "a.png")
    cause = r": the EXIF orientation of a.png rotates it; save the image upright" if orientation == 6 else "$"

    for dataset in (MedicalDataset(str(tmp_path), [], 0), CocoDataset(str(tmp_path), [], 0)):
        with pytest.raises(ValueError, match="a.png has 6x4 pixels, but .* 4x6; width and height are exchanged" + cause):
            dataset[0]
