"""A training step of a plugin: one loss or one for each optimizer, other values, and the same training on any number of ranks."""

import copy
import math
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.optim import SGD, AdamW

from ddpkit.checkpoint.serialization import Staging
from ddpkit.cli.main import main
from ddpkit.config import loading
from ddpkit.config.plugin_policy import combine_policy
from ddpkit.distributed.world import World
from ddpkit.errors import ConfigError, take_component_note
from ddpkit.plugins import manager
from ddpkit.training import builder
from tests.helpers.configs import BLOBS
from tests.helpers.ranks import fit

PLUGIN = '''
import torch
from ddpkit import Component, StepOutput, hookimpl
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


@hookimpl
def ddpkit_models():
    yield Component("pair", f"{__name__}:Pair")
    yield Component("two_inputs", f"{__name__}:TwoInputs")
    yield Component("lazy_parts", f"{__name__}:LazyParts")
    yield Component("counter", f"{__name__}:Counter")


@hookimpl
def ddpkit_steps():
    for name in ("adversarial", "by_hand", "criteria_of_parts", "parts", "twice", "sometimes", "returns", "returns_own", "fails", "counts"):
        yield Component(name, f"{__name__}:{name}")


class Pair(nn.Module):
    """Generator of images [1, 8, 8] and discriminator."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(3, 64)
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 1))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(65, 2)

    def forward(self, images, times):
        return self.layer(torch.cat([images.flatten(1), times], 1))


class LazyParts(nn.Module):
    def __init__(self, has_forward: bool):
        super().__init__()
        self.encoder, self.head = nn.Flatten(), nn.LazyLinear(2)
        if has_forward:
            self.forward = self.encoder.forward


def noise(generator):
    return torch.randn(3, generator=generator)


def smoothed(context):
    """Target of real images, the same on all ranks."""
    return 0.8 + 0.2 * torch.rand((), generator=context.generator("smoothing")).item()


def logistic(logits, target):
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def adversarial(every: int = 1, pause: int = -1):
    """A generator is trained every N steps; in step `pause`, nothing is."""

    def step(context, images, targets):
        if context.step == pause:
            return {}
        net = context.module
        fake = context.call(net.generator, context.draw("noise", noise)).unflatten(1, (1, 8, 8))
        real, made = (context.call(net.discriminator, each) for each in (images, fake.detach()))
        losses = {"discriminator": logistic(real, smoothed(context)) + logistic(made, 0.0)}
        if context.step % every == 0 or not context.is_training:
            losses["generator"] = logistic(context.call(net.discriminator, fake), 1.0)
        return StepOutput(losses, values={"realism": made.sigmoid().mean(), "epoch_seen": float(context.epoch)})

    return step


def by_hand():
    def step(context, images, targets):
        outputs = context.model(images)
        return StepOutput(context.loss(outputs, targets), outputs)

    return step


def parts():
    """Calls parts of the model, so DDP does not average the gradients."""

    def step(context, images, targets):
        for layer in context.module:
            images = context.call(layer, images)
        return StepOutput(cross_entropy(images, targets), images)

    return step


def criteria_of_parts():
    """Calls parts of the model, and returns the criteria."""

    def step(context, images, targets):
        outputs = context.call(context.module, images)
        return StepOutput(context.criteria(outputs, targets), outputs)

    return step


def twice():
    """Calls the model, then only its last layer. Rank 0 returns a value."""

    def step(context, images, targets):
        outputs = context.model(images)
        again = context.call(context.module[-1], torch.ones_like(outputs[:, :1]).expand(-1, context.module[-1].in_features))
        values = {"rank": context.rank} if context.rank == 0 else {}
        return StepOutput(cross_entropy(outputs, targets) + again.square().mean(), outputs, values=values)

    return step


def sometimes():
    def step(context, images, targets):
        call = context.call if context.step == 3 else lambda _, images: context.model(images)
        return cross_entropy(call(context.module, images), targets)

    return step


def returns(what: str):
    def step(context, images, targets):
        outputs = context.model(images)
        return eval(what)

    return step


def returns_own(what: str):
    return lambda context, images, targets: eval(what)


def backward(loss):
    loss.backward()
    return loss
class Counter(nn.Sequential):
    """Classifier with a parameter that is not trained."""

    def __init__(self, n_classes: int):
        super().__init__(nn.Flatten(), nn.LazyLinear(n_classes))
        self.count = nn.Parameter(torch.zeros(()), requires_grad=False)


def counts():
    """Counts its calls in the model. A mean teacher changes such parameters, too."""

    def step(context, images, targets):
        if context.is_training:
            context.module.count += 1
        return cross_entropy(context.model(images), targets)

    return step


def fails(at: int):
    def step(context, images, targets):
        if context.step == at:
            raise ZeroDivisionError("nothing to divide")
        return cross_entropy(context.model(images), targets)

    return step
'''
PAIR = [
    {"name": "generator", "match": "generator.*", "type": "adamw", "learning_rate": 0.01},
    {"name": "discriminator", "type": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "grad_clip_norm": 0.5},
]
ADVERSARIAL = {
    "model.name": "pair",
    "criterion": [],
    "metrics": [],
    "train.step": "adversarial",
    "train.optimizer": PAIR,
    "train.scaler.compute_type": "float64",
    "dataset.config": {"n": 46, "n_test": 7},  # 37 training samples: the last micro-batch has one sample
    "dataset.split": {"train": 37 / 46, "valid": 9 / 46},
    "train.batch_size": 12,
}
WORLD = World()
OWN = {"criterion": [], "metrics": [], "train.scaler.compute_type": "float64"}


@pytest.fixture(scope="module")
def file(acme, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    (folder / "some_steps.py").write_text(PLUGIN)
    (folder / "x.toml").write_text(f'{BLOBS}[plugins]\nfiles = ["{folder}/some_steps.py"]\n')
    return folder / "x.toml"


def build(file, world=WORLD, **overrides):
    loaded = loading.load(file, loading.named_overrides(overrides))
    return builder.build_trainer(loaded, manager.load(combine_policy(loaded.run.plugins)).registry, world)


def assert_close(found, expected, tolerance=1e-9):
    for name, tensor in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], tensor, rtol=tolerance, atol=1e-12)
    for mine, theirs in zip(found["rows"], expected["rows"], strict=False):  # only rank 0 has rows
        assert mine == pytest.approx(theirs, rel=tolerance, nan_ok=True)
    assert found["tested"] == pytest.approx(expected["tested"], rel=tolerance)


def test_a_step_with_the_same_loss_trains_to_the_same_bits(file):
    default, own = fit(file, World()), fit(file, World(), **{"train.step": "by_hand"})

    assert all(torch.equal(own["weights"][name], tensor) for name, tensor in default["weights"].items())
    assert own["rows"][-1]["valid/accuracy"] == default["rows"][-1]["valid/accuracy"]
    assert own["rows"][-1]["train/loss"] == default["rows"][-1]["train/loss"]
    assert own["tested"]["loss"] == default["tested"]["loss"]


def test_two_losses_match_a_handwritten_loop(file):
    trainer = build(file, **ADVERSARIAL)
    net, context = copy.deepcopy(trainer.model).train(), copy.copy(trainer.context)
    generator = AdamW(net.generator.parameters(), 0.01, fused=True)
    discriminator = SGD(net.discriminator.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    logistic = nn.functional.binary_cross_entropy_with_logits
    for epoch in range(2):
        trainer.train_epoch([])
        trainer.progress.end_epoch()
        for number, (images, _, context.shard) in enumerate(trainer.loader.epoch(epoch), start=1):
            context.epoch, context.step = epoch + 1, 4 * epoch + number
            smoothing = torch.rand((), generator=context.generator("smoothing")).item()
            ones = torch.ones(len(images), 1, dtype=torch.float64)
            noise = context.draw("noise", lambda generator: torch.randn(3, generator=generator)).double()
            fake = net.generator(noise).unflatten(1, (1, 8, 8))
            of_discriminator = logistic(net.discriminator(images.double()), (0.8 + 0.2 * smoothing) * ones) + logistic(
                net.discriminator(fake.detach()), ones - 1
            )
            of_generator = logistic(net.discriminator(fake), ones)
            for loss, optimizer in ((of_discriminator, discriminator), (of_generator, generator)):
                parameters = [*optimizer.param_groups[0]["params"]]
                for each, gradient in zip(parameters, torch.autograd.grad(loss, parameters, retain_graph=True), strict=True):
                    each.grad = gradient
            nn.utils.clip_grad_norm_(net.discriminator.parameters(), 0.5)
            discriminator.step()
            generator.step()

    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(tensor, net.state_dict()[name], rtol=1e-12, atol=1e-14)


def train(world, file, overrides):
    return fit(file, world, **overrides)


PLAIN = ADVERSARIAL | {"model.name": "tinynet", "train.optimizer": {"type": "sgd", "learning_rate": 0.1}}
CASES = {
    "two losses": ADVERSARIAL,
    "a loss in every second step": ADVERSARIAL | {"train.step": {"type": "adversarial", "every": 2}},
    "accumulation": ADVERSARIAL | {"train.grad_accumulation_steps": 3},
    "only parts of the model are called": PLAIN | {"train.step": "parts", "metrics": ["accuracy"]},
    "the criteria of a part of the model": PLAIN | {"criterion": [{"type": "cross_entropy"}], "train.step": "criteria_of_parts"},
    "DDP allows one call, and one rank returns a value": PLAIN | {"train.step": "twice", "ddp.find_unused_parameters": True},
}


@pytest.mark.parametrize("name", CASES)
def test_a_step_trains_three_ranks_like_one(in_world, file, tmp_path, name):
    alone = fit(file, World(), **CASES[name])

    for found in in_world(3, tmp_path, train, str(file), CASES[name]):
        assert_close(found, alone)


def test_virtual_shards_give_the_bits_of_two_ranks(in_world, file, tmp_path):
    alone = fit(file, World(), **ADVERSARIAL, **{"ddp.virtual_shards": 2})

    found = in_world(2, tmp_path, train, str(file), ADVERSARIAL)[0]
    assert all(torch.equal(found["weights"][name], tensor) for name, tensor in alone["weights"].items())
    assert found["rows"] == alone["rows"]


def test_history_has_each_loss_and_value(file):
    row = fit(file, World(), **ADVERSARIAL)["rows"][-1]

    for split in ("train", "valid"):
        assert row[f"{split}/loss"] == pytest.approx(row[f"{split}/generator"] + row[f"{split}/discriminator"])
        assert 0 < row[f"{split}/realism"] < 1
        assert row[f"{split}/epoch_seen"] == 2


def test_a_loss_that_is_not_returned_does_not_count(file):
    step = {"type": "adversarial", "every": 1000}
    found = fit(file, World(), **ADVERSARIAL | {"train.step": step})
    before = build(file, **ADVERSARIAL).model.state_dict()

    assert math.isnan(found["rows"][0]["train/generator"])
    assert found["rows"][0]["train/loss"] == found["rows"][0]["train/discriminator"]
    assert found["weights"]["generator.weight"].equal(before["generator.weight"])  # not even by weight decay


RETURNED = {
    "'text'": "the step must return one loss (a tensor []), {'name of the optimizer': loss}, what context.criteria(",
    "outputs": "or ddpkit.StepOutput(losses, outputs, values); got a tensor [2, 2]",
    "{'head': outputs.sum()}": "name the optimizers, with the tables [[train.optimizer]]",
    "outputs.detach().sum()": "the step returned no loss that depends on a trained parameter",
    "None": "the step returned no loss that depends on a trained parameter",
    "StepOutput(outputs.sum(), values={'loss': 1.0})": "a value 'loss', but the history already has a column with this name",
    "StepOutput(outputs.sum(), values={'far': outputs})": "the value 'far' of the step must be a number, or a tensor []; got a",
    "StepOutput(outputs.sum(), values=[1])": "the step must return its values as {'name': number}, with printable names; got list",
    "(outputs.sum(), outputs)": "or ddpkit.StepOutput(losses, outputs, values); got tuple",
    "[outputs.sum(), outputs.sum()]": "the step must return what context.criteria(outputs, targets) returned; got list",
    "StepOutput([outputs.sum()], values={'far': 1})": "return their sum instead: context.loss(outputs, targets)",
    "cross_entropy(outputs, targets) if context.is_training else outputs": "must return one loss (a tensor [])",
}


@pytest.mark.parametrize("what", RETURNED)
def test_a_wrong_output_is_reported_before_the_training(file, what):
    with pytest.raises(
        ConfigError, match=r"train\.step: cannot use what the step returned \(step 'returns' \(some_steps/"
    ) as caught:
        build(file, **OWN, **{"train.step": {"type": "returns", "what": what}})

    assert RETURNED[what] in str(caught.value)


def test_a_loss_needs_an_optimizer_of_its_name(file):
    several = [{"name": "head", "match": "4.*", "type": "sgd"}, {"name": "rest", "type": "sgd"}]
    what = {"train.step": {"type": "returns", "what": "{'haed': outputs.sum()}"}, "train.optimizer": several}
    with pytest.raises(ConfigError, match=r"a loss for 'haed', but no optimizer is called so, did you mean 'head'\?"):
        build(file, **OWN, **what)


def test_an_optimizer_with_a_loss_is_not_called_loss(file):
    several = [{"name": "loss", "match": "4.*", "type": "sgd"}, {"name": "rest", "type": "sgd"}]
    what = {"train.step": {"type": "returns", "what": "{'rest': outputs.sum()}"}, "train.optimizer": several}
    with pytest.raises(ConfigError, match="the optimizer 'loss', but the history already has a column with this name; rename"):
        build(file, **OWN, **what)


def test_a_step_names_a_helper_that_is_not_configured(file):
    step = {"train.step": {"type": "returns", "what": "context.helpers['teacher'](images)"}}
    with pytest.raises(ConfigError, match=r"add it as \[train\.helpers\.NAME\] .*: no helper is called 'teacher'"):
        build(file, **OWN, **step)


@pytest.mark.parametrize("has_forward", [True, False])
def test_lazy_layers_need_a_forward_with_images(file, has_forward):
    lazy = {"model.name": "lazy_parts", "model.config.has_forward": has_forward, "train.step": "parts"}
    with pytest.raises(ConfigError, match=r"model\.name: has lazy layers that forward\(images\) does not call"):
        build(file, **OWN, **lazy)


def test_metrics_need_outputs(file):
    step = {"type": "returns", "what": "cross_entropy(outputs, targets)"}
    with pytest.raises(ConfigError, match=r"return ddpkit\.StepOutput\(losses, outputs\), or remove 'metrics'"):
        build(file, **OWN | {"metrics": ["accuracy"]}, **{"train.step": step})


def test_a_mean_over_weights_cannot_be_added_to_a_loss(file):
    weighted = [{"type": "cross_entropy", "config": {"weight": [1.0, 2.0]}}]
    with pytest.raises(ConfigError, match="a criterion is a mean over the weight of its targets; return what context"):
        build(file, criterion=weighted, **{"train.step": "by_hand"})


def test_a_monitor_must_be_a_loss_of_the_evaluation(file):
    step = {"type": "returns", "what": "cross_entropy(outputs, targets) if context.is_training else None"}
    with pytest.raises(
        ConfigError, match=r"output\.monitor: the step returns no 'loss' in evaluation; return it, or use a metric"
    ):
        build(file, **OWN, **{"train.step": step})


def test_one_of_several_losses_selects_the_best_weights(file):
    trainer = build(file, **ADVERSARIAL, **{"output.monitor": "discriminator"})

    assert trainer.evaluator.models[0].best.column == "valid/discriminator"


def test_a_checkpoint_contains_parameters_that_a_step_changes(file, tmp_path, monkeypatch):
    copy_state = Staging.stage
    monkeypatch.setattr(Staging, "stage", lambda *given: (time.sleep(0.1), copy_state(*given))[1])
    settings = {"criterion": "[]", "metrics": "[]", "model.name": "counter", "train.step": "counts", "output_dir": tmp_path}
    saving = {"run_id": "one", "train.save_recovery_period": 0.01, "train.save_recovery_keep": 100, "private.report": "false"}
    options = [part for key, value in {**settings, **saving}.items() for part in ("--set", f"{key}={value}")]

    assert main(["run", str(file), "--limit-batches", "2", *options]) == 0

    files = sorted(tmp_path.glob("*/one/checkpoints/step-*/model.safetensors"))
    assert [load_file(each)["count"].item() for each in files] == [*range(1, len(files) + 1)]
    assert len(files) > 2


def test_an_error_in_a_step_names_it(file):
    trainer = build(file, **OWN, **{"train.step": {"type": "fails", "at": 2}})
    with pytest.raises(ZeroDivisionError) as caught:
        trainer.train_epoch([])

    assert take_component_note(caught.value).startswith("step 'fails' (some_steps/fails, ")


def test_a_step_that_stops_calling_the_model_is_an_error(file):
    trainer = build(file, **OWN, **{"train.step": "sometimes"})
    with pytest.raises(ValueError, match="but not in this one; call it in each micro-batch"):
        trainer.train_epoch([])


LATER = {
    "None": "the step returned no loss that depends on a trained parameter; return one in each micro-batch",
    "outputs": r"the step returned 'loss', which must be a number, or a tensor \[\]; got a tensor \[8, 2\]",
    "StepOutput(outputs.sum(), values={'far': 'x'})": "the step returned 'far', which must be a number, or a tensor",
    "StepOutput(outputs.sum(), values={'near': 1})": "the step returned 'near', which its first output did not contain",
}


@pytest.mark.parametrize("what", LATER)
def test_a_wrong_output_in_a_later_micro_batch_names_the_step(file, what):
    usual = "StepOutput(cross_entropy(outputs, targets), values={'far': 1.0})"
    trainer = build(file, **OWN, **{"train.step": {"type": "returns", "what": f"{what} if context.step == 2 else {usual}"}})
    with pytest.raises(ValueError, match=LATER[what]) as caught:
        trainer.train_epoch([])

    assert take_component_note(caught.value).startswith("step 'returns' (some_steps/returns, ")


def test_a_step_must_return_the_criteria_in_each_micro_batch(file):
    what = "context.criteria(outputs, targets) if context.step != 2 else outputs.sum()"
    trainer = build(file, **{"train.step": {"type": "returns", "what": what}}, metrics=[])
    with pytest.raises(ValueError, match="the step must return what context"):
        trainer.train_epoch([])


def refusal(world, file, what):
    with pytest.raises(ConfigError) as caught:
        build(file, world, **OWN, **{"train.step": {"type": "returns_own", "what": what}})
    return {"message": str(caught.value)}


MODEL = "context.model(images).sum()"
DIFFERENT = {
    f"{MODEL} if context.is_training or context.rank else None": "the losses [] on rank 0, but ['loss'] on rank 1",
    f"{MODEL} if context.rank else context.call(context.module, images).sum()": "context.model on only one of the ranks 0 and 1",
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_ranks_whose_steps_differ_are_refused(in_world, file, tmp_path, what):
    for found in in_world(2, tmp_path, refusal, file, what):
        assert DIFFERENT[what] in found["message"]


def test_a_step_calls_a_model_with_inputs_of_its_own(file):
    what = "context.loss(context.model(images, torch.zeros(len(images), 1)), targets)"
    step = {"train.step": {"type": "returns_own", "what": what}, "model.name": "two_inputs", "metrics": []}
    trainer = build(file, **step)

    assert trainer.train_epoch([])["loss"] > 0


def test_a_step_adds_to_the_loss_of_a_model(file):
    what = "context.loss(context.model(*context.criteria.inputs(images, targets)), targets) * 2"
    step = {"train.step": {"type": "returns_own", "what": f"{what} if context.is_training else None"}, "model.name": "sovereign"}
    found = build(file, **OWN, **step, **{"dataset.split": {"train": 1.0}})

    assert found.train_epoch([])["loss"] > 0


def test_a_monitor_must_be_a_loss_of_the_training_without_a_validation(file):
    one = ADVERSARIAL | {"train.step": {"type": "returns_own", "what": "context.module.generator.weight.sum()"}}
    with pytest.raises(ConfigError, match=r"output\.monitor: the step returns no 'generator' in the training; return it, or use"):
        build(file, **one | {"dataset.split": {"train": 1.0}, "output.monitor": "generator"})


def test_a_step_without_a_gradient_is_possible_with_a_loss_scaler(file):
    none = ADVERSARIAL | {"train.scaler.compute_type": "float16", "train.step": {"type": "adversarial", "pause": 2}}
    trainer = build(file, **none)
    trainer.train_epoch([])

    assert trainer.progress.step == 4


def test_a_backward_in_the_step_is_refused(file):
    with pytest.raises(ConfigError, match=r"train\.step: the step must not call backward\(\); return the loss"):
        build(file, **OWN, **{"train.step": {"type": "returns", "what": "backward(cross_entropy(outputs, targets))"}})


@pytest.mark.slow
def test_several_losses_train_a_compiled_model(file):
    several = [{"name": "head", "match": "4.*", "type": "sgd"}, {"name": "rest", "type": "sgd"}]
    what = "{'head': cross_entropy(outputs, targets), 'rest': outputs.square().mean()}"
    case = {**OWN, "train.step": {"type": "returns", "what": what}, "train.optimizer": several, "train.epoch": 1}
    plain, compiled = (fit(file, WORLD, **case, **{"train.compile": on}) for on in (False, True))

    assert_close(compiled, plain)
