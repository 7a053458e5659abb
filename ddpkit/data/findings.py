"""Problems in the data of a run, found by comparing the facts about all samples."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

import attrs

from ddpkit.data.sample_facts import SampleFacts
from ddpkit.errors import list_first

Problem = Literal["unreadable", "wrong size", "wrong label", "duplicate", "two labels", "two splits"]
SHOWN = 3
"""Maximum number of other samples in a message."""


@attrs.frozen
class CheckedSample:
    """Sample of a split, and its facts."""

    split: str
    name: str
    """File of the sample, else its index in the dataset."""
    facts: SampleFacts


@attrs.frozen
class Finding:
    """Problem with a sample, or with several samples of the same content."""

    problem: Problem
    samples: Sequence[CheckedSample]
    message: str


@attrs.frozen
class KnownLabels:
    """Labels that a target may contain."""

    allowed: range
    ignored: Collection[int] = ()
    """Labels that mean "no class"."""

    def find_wrong(self, labels: Sequence[int]) -> list[int]:
        return [label for label in labels if label not in self.allowed and label not in self.ignored]


def find_problems(samples: Sequence[CheckedSample], labels: KnownLabels | None, *, collates: bool) -> list[Finding]:
    """Return all problems, in the order of the samples.

    Args:
        samples: Samples of all splits.
        labels: Labels that a target may contain; None: unknown.
        collates: Whether the dataset has its own `collate`; samples may then differ in size.
    """
    found = [*single_problems(samples, labels), *([] if collates else size_problems(samples)), *content_problems(samples)]
    place = {id(sample): number for number, sample in enumerate(samples)}
    return sorted(found, key=lambda finding: place[id(finding.samples[0])])


def single_problems(samples: Sequence[CheckedSample], labels: KnownLabels | None) -> Iterator[Finding]:
    """Yield the problems of each sample by itself."""
    for sample in samples:
        facts = sample.facts
        if facts.error:
            yield Finding("unreadable", [sample], facts.error)
        elif facts.wrong_size:
            yield Finding("wrong size", [sample], facts.wrong_size)
        if labels and (wrong := labels.find_wrong(facts.labels)):
            limits = f"labels are {labels.allowed.start} to {labels.allowed.stop - 1}"
            yield Finding("wrong label", [sample], f"has {', '.join(map(str, wrong))}, but {limits}")


def size_problems(samples: Sequence[CheckedSample]) -> Iterator[Finding]:
    """Yield the samples of each split whose shapes differ from those of most samples: they do not fit into a micro-batch.

    If no shape is that of most samples, yield one problem for the split.
    """
    splits: dict[str, list[CheckedSample]] = defaultdict(list)
    for sample in samples:
        splits[sample.split] += [sample] * bool(sample.facts.shapes)
    for group in filter(None, splits.values()):
        usual, n = Counter(sample.facts.shapes for sample in group).most_common(1)[0]
        others = [sample for sample in group if sample.facts.shapes != usual]
        if n > 1 and n >= len(others):
            for sample in others:
                shapes = f"is {sample.facts.shapes} after the transforms, but most samples are {usual}"
                yield Finding("wrong size", [sample], shapes)
        else:
            shapes = f"{group[0].facts.shapes} here, {others[-1].facts.shapes} in {others[-1].name}"
            yield Finding("wrong size", group, f"images differ in size ({shapes}); add 'RESIZE = [H, W]' to [transform]")


def content_problems(samples: Sequence[CheckedSample]) -> Iterator[Finding]:
    """Yield the samples with the same image, once for each group of them."""
    groups: dict[str, list[CheckedSample]] = defaultdict(list)
    for sample in samples:
        groups[sample.facts.content].append(sample)
    for group in (group for content, group in groups.items() if content and len(group) > 1):
        others = list_first([f"{each.name} ({each.split})" for each in group[1:]], SHOWN)
        for problem in group_problems(group):
            yield Finding(problem, group, f"is the same image as {others}{EXPLANATIONS[problem]}")


def group_problems(group: Sequence[CheckedSample]) -> list[Problem]:
    """Return what is wrong with samples of the same image."""
    problems: Mapping[Problem, int] = {
        "two labels": len({each.facts.target for each in group}),
        "two splits": len({each.split for each in group}),
    }
    return [problem for problem, n in problems.items() if n > 1] or ["duplicate"]


EXPLANATIONS: Mapping[Problem, str] = {
    "two labels": "; their labels or masks differ",
    "two splits": "; they are in different splits",
    "duplicate": "",
}
