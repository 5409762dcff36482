"""How a model is fine-tuned, and how much is needed for it."""

from dataclasses import dataclass

from mmocnet.config.checked import Checked


@dataclass(frozen=True)
class FinetuneSettings(Checked):
    """How a model is fine-tuned; the defaults are for a handful of labelled scans on a CPU."""

    steps: tuple[int, int, int] = (240, 480, 240)
    """Steps of stage 1, stage 2 and the classifier; 0 leaves a network as it is."""
    learning_rate: float = 2e-4
    """Highest learning rate, a tenth of that which stages are trained at and a fifth of the
    classifier's."""
    pull: float = 0.002
    """Share of the way back to the start weights that each step takes."""
    replay_share: float = 0.5
    """Share of each batch that comes from simulated scans, so that what was known stays known."""
    replay_subjects: int = 48
    """Simulated subjects: two thirds slabs to learn from, one third heads that judge."""
    replay_weight: float = 3.0
    """Weight of the candidates of simulated scans in the fit of the confidence, over that of the
    user's; they are to keep the confidence that they had."""
    ridge: float = 0.01
    """Pull of the confidence's weights to their start."""
    held_out_share: float = 0.34
    """Share of the subjects that are not learned from, on which the result is judged."""
    force: bool = False
    """Whether the best attempt is written even where it is not better."""
    seed: int = 0
    """Everything random comes from it."""
    device: str = "cpu"
    """Where the networks are tuned: cpu or cuda."""


LEAST_SUBJECTS = 3
"""Subjects with a microbleed below which nothing is tuned."""
LEAST_LESIONS = 10
"""Microbleeds below which nothing is tuned."""
MOST_FORGOTTEN = 0.01
"""Lesion F1 that a tuned model may lose on simulated scans."""
