"""A small student learns from the digits and from the outputs of a larger teacher (distillation, Hinton et al. 2015)."""

from torch import nn
from torch.nn.functional import kl_div, log_softmax

from ddpkit import Component, StepOutput, hookimpl


@hookimpl
def ddpkit_models():
    yield Component("small_cnn", "plugin:SmallCnn", doc="two convolutions, for images of 28 x 28 pixels", draws=())


@hookimpl
def ddpkit_steps():
    yield Component("distillation", "plugin:Distillation", doc="criteria, and the outputs of a teacher", draws=())


class SmallCnn(nn.Sequential):
    """Images [B, 1, 28, 28] to logits [B, n_classes]."""

    def __init__(self, n_classes: int, width: int = 16):
        super().__init__(
            nn.Conv2d(1, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, 2 * width, 5, stride=2), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * width, n_classes),
        )  # fmt: skip


class Distillation:
    """Loss: `[[criterion]]`, and how much student and teacher differ in the probabilities of the classes."""

    def __init__(self, weight: float = 1.0, temperature: float = 2.0):
        self.weight, self.temperature = weight, temperature

    def __call__(self, context, images, targets):
        outputs = context.model(images)
        difference = self.divergence(outputs, context.helpers["teacher"](images))  # the teacher gets no gradient
        loss = context.loss(outputs, targets) + self.weight * difference
        return StepOutput(loss, outputs, values={"difference": difference})

    def divergence(self, student, teacher):
        """Kullback-Leibler divergence of softened probabilities; the factor keeps the size of its gradient."""
        student, teacher = (log_softmax(each / self.temperature, dim=1) for each in (student, teacher))
        return kl_div(student, teacher, reduction="batchmean", log_target=True) * self.temperature**2
