from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch

from mmocnet.simulate.anatomy import Anatomy, make_anatomy
from mmocnet.simulate.grid import Grid
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.settings import ProtocolName, StudySettings
from mmocnet.simulate.study import simulate_study
from mmocnet.simulate.subject import draw_traits
from mmocnet.simulate.templates import Templates, load_templates

SLAB_MM = 12.0
Study = Callable[..., SimulatedStudy]


@cache
def _study(protocol: ProtocolName, seed: int, count: int, images: str) -> SimulatedStudy:
    """Return a slab with `count` microbleeds: about a CPU second each, so they are shared."""
    settings = StudySettings(
        protocol,
        lesion_free_share=0.0 if count else 1.0,
        lesion_count=(count, count) if count else None,
        images=images,  # type: ignore[arg-type]
        slab_mm=SLAB_MM,
    )
    return simulate_study(settings, seed)


@pytest.fixture(scope="session")
def study() -> Study:
    def make(
        protocol: ProtocolName = "reference3t", seed: int = 1, count: int = 4, images: str = "all"
    ) -> SimulatedStudy:
        return _study(protocol, seed, count, images)

    return make


@pytest.fixture(scope="session")
def templates() -> Templates:
    return load_templates()


@pytest.fixture(scope="session")
def anatomy(templates: Templates) -> Anatomy:
    """Return a whole head, coarse."""
    rng = np.random.default_rng(4)
    grid = Grid((-80.0, -114.0, -66.0), (1.6, 1.6, 1.6), (100, 122, 96))
    with torch.inference_mode():
        return make_anatomy(grid, templates, draw_traits(rng), rng, "cpu")
