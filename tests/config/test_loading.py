"""A config file, its overrides, and the resolved config that reproduces the run."""

from pathlib import Path

import pytest

from ddpkit.config import loading, schema
from ddpkit.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_shipped_configs_are_valid(file):
    assert loading.load(file).run.device == "auto"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.epoch=3", ("train", "epoch"), 3),
        ("task = x y", ("task",), "x y"),
        ("metrics=['a', {type = 'b'}]", ("metrics",), ["a", {"type": "b"}]),
        ('transform."a/B"=[1]', ("transform", "a/B"), [1]),
        ("task=", ("task",), ""),
    ],
)
def test_set_parses_toml_or_falls_back_to_a_string(text, path, value):
    override = loading.parse_override(text, "--set 1")

    assert (override.path, override.value) == (path, value)
    assert loading.parse_override(override.text(), "") == loading.Override("", path, value)


def test_overrides_create_tables_and_the_last_one_wins(blobs):
    overrides = loading.named_overrides({"valid.batch_size": 4, "train.lr_scheduler": {"type": "cosine"}, "seed": 1})
    overrides += loading.parse_overrides(["seed=2"])

    run = loading.load(blobs, overrides).run

    assert (run.valid.batch_size, run.train.lr_scheduler.type, run.seed) == (4, "cosine", 2)


def test_the_resolved_config_is_the_config_with_all_defaults(blobs):
    run = loading.load(blobs, loading.named_overrides({"run_id": "x", "train.lr_scheduler.type": "cosine"})).run
    resolved = blobs.with_name("resolved.toml")
    resolved.write_text(loading.dump(run))

    again = loading.load(resolved).run

    assert again.output_dir == str(blobs.parent / "runs")
    assert again.run_id == ""
    assert again.train == run.train
    assert again.dataset == run.dataset
    assert again.metrics == run.metrics


def test_a_name_is_the_table_with_this_type(blobs):
    names = loading.named_overrides(
        {"train.optimizer": "adam", "train.lr_scheduler": "cosine", "metrics": "f1", "criterion": "focal"}
    )

    run = loading.load(blobs, names).run

    assert run.train.optimizer == schema.Optimizer(type="adam")
    assert run.train.lr_scheduler == schema.LrScheduler(type="cosine")
    assert (run.metrics, run.criterion) == ([schema.Metric(type="f1")], [schema.Criterion(type="focal")])


def test_criteria_are_a_list_of_names_and_tables(blobs):
    both = loading.named_overrides({"criterion": ["dice", {"type": "focal", "weight": 0.5}]})

    assert [(each.type, each.weight) for each in loading.load(blobs, both).run.criterion] == [("dice", 1.0), ("focal", 0.5)]


def test_a_later_layer_adds_keys_to_a_name(blobs):
    blobs.write_text(blobs.read_text().partition("optimizer")[0] + 'optimizer = "adam"\nlr_scheduler = "cosine"\n')
    over = blobs.with_name("over.toml")
    over.write_text('extends = "blobs.toml"\n[train.lr_scheduler]\nwarmup = 2\n')

    config = loading.load(over, loading.parse_overrides(["train.optimizer.learning_rate=0.5"]))

    assert config.run.train.optimizer == schema.Optimizer(type="adam", learning_rate=0.5)
    assert config.run.train.lr_scheduler == schema.LrScheduler(type="cosine", warmup=2.0)
    assert config.problem(("train", "optimizer", "type"), "").where.endswith("/blobs.toml:28:13")


def test_an_empty_postprocess_is_none(blobs):
    assert loading.load(blobs, loading.parse_overrides(["postprocess=", "metrics=[]"])).run.postprocess is None


def test_base_dir_is_an_alias_of_root_dir(blobs):
    run = loading.load(blobs, loading.named_overrides({"dataset.base_dir": "data"})).run

    assert (run.dataset.root_dir, run.dataset.base_dir) == ("data", "")


# --- layers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def load_extending(blobs):
    """`load_extending(text)` loads a file next to the small config."""

    def read(text, *options):
        file = blobs.with_name("over.toml")
        file.write_text(text)
        return loading.load(file, loading.parse_overrides(options))

    return read


def test_a_file_overrides_the_file_it_extends(load_extending):
    run = load_extending('extends = "blobs.toml"\nmetrics = []\n[train]\nepoch = 7\n[dataset.config]\nn = 50\n').run

    assert (run.train.epoch, run.train.batch_size, run.train.optimizer.type) == (7, 8, "sgd")
    assert run.dataset.config == {"n": 50, "n_test": 7}
    assert run.metrics == []


def test_an_extending_file_replaces_all_transforms(blobs, load_extending):
    blobs.write_text(blobs.read_text() + "[transform]\nROTATION = [3]\nPIL_TO_TENSOR = []\n")

    run = load_extending('extends = "blobs.toml"\n[transform]\nNORMALIZE = [[0.5], [0.5]]\n').run

    assert list(run.transform) == ["NORMALIZE"]


def test_each_mistake_is_reported_in_its_own_layer(blobs, load_extending):
    blobs.write_text(blobs.read_text().replace("epoch = 2", 'epoch = "2"'))

    with pytest.raises(ConfigError) as raised:
        load_extending(f'extends = "{blobs.name}"\n[train]\nbatch_sise = 3\n', "seed=x")

    assert [(problem.where.rpartition("/")[2], str(problem.path[-1])) for problem in raised.value.problems] == [
        ("--set 1", "seed"),
        ("blobs.toml:27:9", "epoch"),
        ("over.toml:3:1", "batch_sise"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "over.toml"', "over.toml:1:11: extends: .*over.toml extends itself"),
        ('seed = 1\nextends = "nowhere.toml"', "over.toml:2:11: extends: file .*nowhere.toml was not found"),
        (
            'extends = "blobs.toml"\ndataset.ref = "nowhere.yaml"',
            "over.toml:2:15: dataset.ref: file .*nowhere.yaml was not found",
        ),
    ],
)
def test_a_missing_file_is_reported_at_its_reference(load_extending, text, message):
    with pytest.raises(ConfigError, match=message):
        load_extending(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ref.toml", 'classes = ["no", "yes"]\nname = "blobs"\nroot_dir = "data"\n[config]\nn = 30\nn_test = 3\n'),
        ("ref.yaml", "classes: [no, 'yes']\nname: blobs\nroot_dir: data\nconfig: {n: 30, n_test: 3}\n".replace("[no,", "['no',")),
    ],
)
def test_a_dataset_reference_provides_defaults(blobs, load_extending, name, text):
    blobs.with_name(name).write_text(text)
    blobs.write_text(blobs.read_text().replace('classes = ["left", "right"]\n', ""))

    run = load_extending(f'extends = "blobs.toml"\n[dataset]\nref = "{name}"\n').run

    assert (run.classes, run.dataset.root_dir, run.dataset.config) == (["no", "yes"], "data", {"n": 40, "n_test": 7})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "ref.yaml",
            "name: blobs\nconfig:\n  n: 30\nrot_dir: x\n",
            "ref.yaml:4:1: dataset.rot_dir: unknown key, did you mean 'root_dir'",
        ),
        ("ref.yaml", "root_dir: [1]\n", r"ref.yaml:1:11: dataset.root_dir: expected a string, got \[1\]"),
        ("ref.toml", "classes = [1]\n", r"ref.toml:1:12: classes\[0\]: expected a string, got 1"),
        ("ref.yaml", "a: [\n", "ref.yaml:2:1: is not valid YAML"),
        ("ref.yaml", "- 1\n", "ref.yaml: the top level must be a table"),
        ("ref.toml", 'ref = "x.toml"\n', "ref.toml:1:7: ref: is not allowed in a file that 'dataset.ref' refers to"),
    ],
)
def test_a_mistake_in_a_referenced_file_is_reported_there(blobs, load_extending, name, text, message):
    blobs.with_name(name).write_text(text)
    blobs.write_text(blobs.read_text().replace('classes = ["left", "right"]\n', ""))

    with pytest.raises(ConfigError, match=message):
        load_extending(f'extends = "blobs.toml"\n[dataset]\nref = "{name}"\n')


def test_the_resolved_config_needs_no_other_file(blobs, load_extending, tmp_path):
    blobs.with_name("ref.yaml").write_text("config: {noise: 0.5}\n")
    run = load_extending('extends = "blobs.toml"\ndataset.ref = "ref.yaml"\n').run
    (tmp_path / "elsewhere").mkdir()
    resolved = tmp_path / "elsewhere/resolved.toml"
    resolved.write_text(loading.dump(run))

    again = loading.load(resolved).run

    assert again.dataset.config == run.dataset.config == {"noise": 0.5, "n": 40, "n_test": 7}


def test_environment_variables_are_not_expanded(blobs, monkeypatch):
    monkeypatch.setenv("HOME_OF_DATA", "/secret")

    run = loading.load(blobs, loading.parse_overrides(["dataset.root_dir=$HOME_OF_DATA"])).run

    assert run.dataset.root_dir == "$HOME_OF_DATA"
