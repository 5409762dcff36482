"""How well `mmocnet compare` tells what changed between two simulated visits.

python benchmarks/two_visits.py --pairs 8
Measured with the simulator's own outlines, and with those of a model (not with `--no-model`).
Simulated pairs: the figures say how well lesions are matched, not how a scanner would do.
"""

import argparse
from collections import Counter

import numpy as np

from mmocnet.compare.comparison import Comparison, compare_visits
from mmocnet.compare.match import has_grown, match_lesions
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.errors import InputError
from mmocnet.predict.labels import measured_lesions
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.visits import SimulatedVisits, simulate_visits


def perfect(study: SimulatedStudy) -> Visit:
    """Return a visit with the lesions that a reader would outline."""
    labels = study.swi.like(np.asarray(study.apparent.array, np.int32))
    brain = np.asarray(study.brain.array, bool)
    return Visit(study.swi, labels, measured_lesions(labels), brain)


def predicted(study: SimulatedStudy) -> Visit:
    """Return a visit with the lesions that the default model finds."""
    from mmocnet import segment

    found = segment(study.swi)
    below = [one for one in found.candidates if one.confidence < found.provenance["Threshold"]]
    brain = np.asarray(study.brain.array, bool)
    return Visit(study.swi, found.labels, found.lesions, brain, tuple(below))


def truth(pair: SimulatedVisits) -> list[tuple[str, tuple[float, float, float]]]:
    """Return what became of each lesion that can be seen: (state, place at the last visit).

    Grown is what `compare` calls so, by the volumes that a reader would outline: blooming hides
    that the source of another has grown.
    """
    seen = [
        {one.index: one for one in perfect(visit).lesions}
        for visit in (pair.baseline, pair.follow_up)
    ]
    states = []
    for change in pair.changes:
        before, after = seen[0].get(change.baseline), seen[1].get(change.follow_up)
        if after is not None:
            state = "new"
            if before is not None:
                grown = has_grown(before, after, CompareSettings())
                state = "grown" if grown else "stable"
            states.append((state, after.centre_mm))
    return states


def tally(pair: SimulatedVisits, found: Comparison) -> Counter[str]:
    """Count what the comparison says of lesions seen at follow-up, and what it calls new."""
    lesions = list(found.follow_up.lesions)
    references = truth(pair)
    at = np.array([place for _, place in references]).reshape(-1, 3)
    spheres = {one.centre_mm: one for one in perfect(pair.follow_up).lesions}
    centres = np.array([one.centre_mm for one in lesions]).reshape(-1, 3)
    wanted = [spheres[tuple(place)] for place in at.tolist()]
    matched = dict(match_lesions(wanted, lesions, centres, found.settings.tolerance_mm))
    states = {
        one.follow_up.index: one.state.value for one in found.changes if one.follow_up is not None
    }
    counts: Counter[str] = Counter()
    for number, (state, _) in enumerate(references):
        hit = matched.get(number)
        said = "missed" if hit is None else states[lesions[hit].index]
        counts[f"{state} said {said}"] += 1
    others = set(range(len(lesions))) - set(matched.values())
    counts["false said new"] = sum(states[lesions[one].index] == "new" for one in others)
    return counts


def error_mm(pair: SimulatedVisits, found: Comparison) -> float:
    """Return how far brain voxels are from where the known motion puts them, on average."""
    voxels = np.argwhere(np.asarray(pair.baseline.brain.array, bool))[::997]
    places = pair.baseline.brain.world(voxels.astype(np.float64))
    moved = places @ pair.motion[:3, :3].T + pair.motion[:3, 3]
    return float(np.linalg.norm(found.alignment.to_first(moved) - places, axis=1).mean())


def main() -> None:
    """Simulate pairs, compare them and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--slab-mm", type=float, default=40.0)
    parser.add_argument("--no-model", action="store_true")
    options = parser.parse_args()
    settings = StudySettings(
        lesion_free_share=0.0, lesion_count=(8, 16), images="swi", slab_mm=options.slab_mm
    )
    kinds = {"perfect": perfect} if options.no_model else {"perfect": perfect, "model": predicted}
    totals = {name: Counter[str]() for name in kinds}
    for seed in range(options.pairs):
        pair = simulate_visits(settings, seed)
        for name, visit in kinds.items():
            try:
                found = compare_visits(visit(pair.baseline), visit(pair.follow_up))
            except InputError as error:
                print(f"{seed} {name}: left out: {error}", flush=True)
                continue
            totals[name] += tally(pair, found)
            print(f"{seed} {name}: registration off by {error_mm(pair, found):.2f} mm", flush=True)
    for name, total in totals.items():
        print(name, dict(sorted(total.items())))


if __name__ == "__main__":
    main()
