"""Samples of the test split with their predictions, for the report of a run and for its loggers.

Each rank keeps the predictions with the largest and with the smallest errors. At the end, all ranks agree on the samples that are
shown, and each rank reads and draws its own ones. Which samples are shown does not depend on the number of ranks.
"""

import base64
import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
from PIL import Image

from ddpkit.config.classes import class_names, configured_outputs, foreground_names
from ddpkit.config.component_refs import history_columns
from ddpkit.config.instantiate import ComponentFactory
from ddpkit.config.loading import Config
from ddpkit.data.loader import SplitLoader
from ddpkit.data.nested import map_tensors
from ddpkit.data.sampler import Shard
from ddpkit.data.stream import is_stream
from ddpkit.distributed.world import World
from ddpkit.inference.drawing import Annotation
from ddpkit.inference.input_geometry import InputGeometry
from ddpkit.inference.prediction import Prediction, PredictionDecoder
from ddpkit.inference.prediction_drawing import annotate_prediction
from ddpkit.inference.prediction_error import prediction_errors
from ddpkit.inference.sample_drawing import SampleDrawer, draw_grid, image_size, split_batch
from ddpkit.inference.tags import Tag
from ddpkit.plugins.registry import Registry
from ddpkit.runs.test_samples import Group, ShownSample

LOGGER = logging.getLogger(__name__)
LISTED = 5
"""Maximum number of classes in the text of a target or of a prediction."""


@attrs.frozen(kw_only=True)
class Candidate:
    """Sample that may be shown."""

    index: int
    error: float | None
    """None: not known."""
    prediction: Prediction = attrs.field(eq=False)

    @property
    def order(self) -> tuple[float, int]:
        """Key that sorts by the error, then by the index."""
        return (self.error or 0, self.index)


@attrs.define
class TestSampleCollector:
    """Collects samples of the test split while it is evaluated. Each rank has one."""

    __test__ = False  # not a class of tests, for pytest

    loader: SplitLoader
    decoder: PredictionDecoder
    drawer: SampleDrawer
    limit: int
    """Maximum number of samples that are shown."""
    worst: list[Candidate] = attrs.field(factory=list)
    """Candidates of this rank with the largest errors, in order."""
    best: list[Candidate] = attrs.field(factory=list)
    """Candidates of this rank with the smallest errors, in order."""
    is_broken: bool = False

    @classmethod
    def of(cls, config: Config, registry: Registry, loader: SplitLoader | None) -> "TestSampleCollector | None":
        """Create the collector; None if the config wants no pictures, or for several heads, no test split or a stream."""
        run = config.run
        if not run.private.log_images or loader is None or any(each.on for each in history_columns(run)):
            return None
        if is_stream(loader.samples.dataset):  # a sample cannot be read again by its index
            return None
        gives, wanted = ComponentFactory(config, registry).gives, run.predict.config
        names = foreground_names(class_names(run), gives, configured_outputs(run))
        decoder = PredictionDecoder(gives=gives, classes=names, threshold=wanted.threshold, top_k=wanted.top_k)
        return cls(loader, decoder, SampleDrawer.of(run, loader), run.private.log_images)

    @property
    def partly_right(self) -> bool:
        """Whether a prediction can be partly right, as a mask can."""
        return self.decoder.gives not in ("class", "labels")

    def observe(self, predictions: Any, targets: Any, shard: Shard) -> None:
        """Keep the candidates of a micro-batch of this rank. A failure is a warning, and ends the collection."""
        if self.is_broken:
            return
        try:
            errors = prediction_errors(self.decoder, predictions, targets)
            for place, (index, error) in enumerate(zip(shard.indices, errors, strict=True)):
                self.consider(place, index, error, predictions)
        except Exception as error:  # noqa: BLE001 - predictions and targets may be of any kind; the test is more important
            self.give_up(error)

    def consider(self, place: int, index: int, error: float | None, predictions: Any) -> None:
        """Keep a prediction if its error is one of the largest or of the smallest so far."""
        order = (error or 0, index)
        is_worst = order[0] > 0 and (len(self.worst) < self.limit or order[0] > self.worst[-1].order[0])
        is_best = len(self.best) < self.limit or order < self.best[-1].order
        if not (is_worst or is_best):
            return
        found = Candidate(index=index, error=error, prediction=self.decode(predictions[place]))
        if is_worst:
            self.worst = sorted([*self.worst, found], key=lambda each: (-each.order[0], each.index))[: self.limit]
        if is_best:
            self.best = sorted([*self.best, found], key=lambda each: each.order)[: self.limit]

    def decode(self, value: Any) -> Prediction:
        """Return the prediction without arrays that are not drawn. A mask has the size of the predicted probabilities."""
        height, width = (value.shape[-2], value.shape[-1]) if getattr(value, "ndim", 0) > 1 else (1, 1)
        size = (height, width)
        view = InputGeometry(0, 0, width, height, size, size)
        if self.decoder.gives == "boxes":  # the boxes are in pixels of the model's input, whose size does not matter here
            view = InputGeometry(0, 0, 2**31, 2**31, (2**31, 2**31), (2**31, 2**31))
        found = self.decoder(value, view)
        return Prediction(found.values, {name: each for name, each in found.arrays.items() if name in ("mask", "values")})

    def collect(self, world: World) -> list[ShownSample]:
        """Return the samples to show, on every rank: first those with the largest errors. Every rank must call it."""
        mine = {each.index: each for each in (*self.worst, *self.best)}
        texts = world.gather_str(json.dumps([[each.index, each.error] for each in mine.values()]))
        candidates = [(error, index) for text in texts for index, error in json.loads(text)]
        chosen = choose_samples(candidates, self.limit, partly_right=self.partly_right)
        drawn = {index: self.draw(mine[index]) for index in chosen if index in mine and not self.is_broken}
        parts = world.gather_str(json.dumps({index: each for index, each in drawn.items() if each}))
        found = {int(index): each for part in parts for index, each in json.loads(part).items()}
        return [self.restore(found[index], is_worst=is_worst) for index, is_worst in chosen.items() if index in found]

    def draw(self, candidate: Candidate) -> dict[str, Any] | None:
        """Return the texts and the encoded picture of a candidate of this rank, which is read again; None after a failure."""
        try:
            images, targets = map_tensors(lambda each: each.detach().cpu(), self.loader.read([candidate.index]))
            [(image, target)] = split_batch(images, targets)
            truth, found = self.drawer.annotate(target, image_size(image)), annotate_prediction(candidate.prediction)
            name = self.loader.samples.info.identify([candidate.index])[0]
            data = io.BytesIO()
            caption = name if isinstance(name, str) else f"sample {name}"
            self.draw_both(image, truth, found, caption).save(data, "PNG")
        except Exception as error:  # noqa: BLE001 - a dataset may raise anything
            self.give_up(error)
            return None
        png = base64.b64encode(data.getvalue()).decode()
        return {
            "sample": name, "truth": describe(truth), "prediction": describe(found), "error": candidate.error, "png": png
        }  # fmt: skip

    def draw_both(self, image: Any, truth: Annotation, found: Annotation, caption: str) -> Image.Image:
        """Return one picture with two texts or, if masks or boxes are drawn, the target and the prediction side by side."""
        if any(each.mask is not None or each.boxes for each in (truth, found)):
            sides = {"target": truth, "prediction": found}
            return draw_grid([self.drawer.draw_annotation(image, each, f"{name}, {caption}") for name, each in sides.items()])
        tags = [*prefix_tags("target", truth.tags), *prefix_tags("prediction", found.tags)]
        return self.drawer.draw_annotation(image, Annotation(tags=tags), caption)

    def restore(self, found: Mapping[str, Any], *, is_worst: bool) -> ShownSample:
        """Return a sample from the texts that a rank has sent."""
        group: Group = "worst" if is_worst else "best"
        if not self.partly_right:
            group = "wrong" if is_worst else "correct"
        if found["error"] is None:
            group = "sample"
        return ShownSample(group=group, **{**found, "png": base64.b64decode(found["png"])})

    def give_up(self, error: Exception) -> None:
        """Warn that no samples are shown."""
        self.is_broken = True
        LOGGER.warning("the pictures of test samples are left out: %s: %s", type(error).__name__, error)
        LOGGER.debug("traceback of the failed pictures", exc_info=error)


def choose_samples(candidates: Iterable[tuple[float | None, int]], limit: int, *, partly_right: bool) -> dict[int, bool]:
    """Return the indices of at most `limit` samples, and whether each has one of the largest errors.

    Half of them have the largest errors and half the smallest; if there are too few of one kind, there are more of the other.
    `partly_right`: whether a prediction with an error counts as one of the smallest.
    """
    ordered = sorted({index: error or 0.0 for error, index in candidates}.items(), key=lambda each: (-each[1], each[0]))
    wrong = [index for index, error in ordered if error > 0]
    right = [index for index, error in sorted(ordered, key=lambda each: (each[1], each[0])) if partly_right or not error]
    worst = wrong[: (limit + 1) // 2]
    best = [index for index in right if index not in worst][: limit - len(worst)]
    rest = [index for index in wrong if index not in worst and index not in best][: limit - len(worst) - len(best)]
    return dict.fromkeys([*worst, *rest], True) | dict.fromkeys(best, False)


def prefix_tags(word: str, tags: Sequence[Tag]) -> list[Tag]:
    return [attrs.evolve(tag, before=f"{word}: ") for tag in tags]


def describe(annotation: Annotation) -> str:
    """Return the classes of an annotation as text; boxes are counted: `2 cat, 1 dog`."""
    counts = Counter(tag.name for _, tag in annotation.boxes)
    texts = [f"{n} {name}".strip() for name, n in counts.items()] or [
        f"{tag.name} {tag.value}".strip() for tag in annotation.tags
    ]
    return ", ".join(texts if len(texts) <= LISTED else [*texts[:LISTED], "..."])
