"""CPU time and peak memory of each step of the simulator's physics, one thread.

Run `python benchmarks/bench_physics.py`; `--device cuda` times a GPU, `--shape` another grid.
"""

import argparse
import resource
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mmocnet.prepare.swi import homodyne_highpass, minip, swi
from mmocnet.simulate import acquisition, field, signal
from mmocnet.types import IntTriple

SPIN_MM = (0.6, 0.6, 1.0)


def timed(name: str, device: torch.device, step: Callable[[], object]) -> float:
    if device.type == "cuda":
        step()  # plans and kernels are made once a process
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = time.perf_counter() - start
    print(f"{name:44s} {seconds:7.3f} s   peak so far {peak:5.2f} GiB")
    return seconds


def one_lesion(device: torch.device) -> Tensor:
    spheres = [((0.0, 0.0, 0.0), 0.7, 1.6), ((0.5, 0.2, 0.0), 0.5, 1.6)]
    chi, shift = field.lesion_patch(spheres, (0.15, 0.15, 0.2), (3.3, 3.3, 3.5), device=device)
    return signal.lesion_factor(chi, shift, (4, 4, 5), signal.Echo(20.0, 3.0))


def run(shape: IntTriple, acquired: IntTriple, device: torch.device) -> float:
    chi = 0.02 * torch.randn(shape, device=device)
    coarse: IntTriple = (shape[0] // 4, shape[1] // 4, shape[2] // 2)
    small = field.downsample(chi, coarse)
    shift = field.field_shift_ppm(chi, SPIN_MM)
    wm = signal.TISSUES["wm"]
    m0 = torch.full(shape, signal.spoiled_gre(wm.pd, wm.t1(3.0), 28.0, 15.0), device=device)
    r2star = torch.full(shape, wm.r2star(3.0), device=device)
    echo = signal.Echo(20.0, 3.0)
    spins = signal.complex_signal(m0, r2star, shift, echo)
    image = acquisition.crop_kspace(spins, acquired)
    mask = torch.ones(acquired, dtype=torch.bool, device=device)
    draw = torch.Generator().manual_seed(1)
    phase = homodyne_highpass(image)
    steps: dict[str, Callable[[], object]] = {
        "field of the spin grid, periodic": lambda: field.field_shift_ppm(chi, SPIN_MM),
        "field of a coarse grid, padded by 16": lambda: field.field_shift_ppm(
            small, (2.4, 2.4, 2.0), pad=16
        ),
        "upsample coarse to spin grid": lambda: field.upsample(small, shape),
        "downsample spin to coarse grid": lambda: field.downsample(chi, coarse),
        "complex signal with dephasing": lambda: signal.complex_signal(m0, r2star, shift, echo),
        "one lesion, patch and factor": lambda: one_lesion(device),
        "crop k-space": lambda: acquisition.crop_kspace(spins, acquired, taper=0.2),
        "coil phase": lambda: acquisition.coil_phase(acquired, draw, device=device),
        "bias field": lambda: acquisition.bias_field(acquired, draw, device=device),
        "noise": lambda: acquisition.add_noise(image, 25.0, mask, draw),
        "motion": lambda: acquisition.motion_ghosts(image, 0.5, draw),
        "homodyne high-pass": lambda: homodyne_highpass(image),
        "swi": lambda: swi(image.abs(), phase),
        "minip, 10 mm": lambda: minip(phase, 10.0, SPIN_MM),
    }
    return sum(timed(name, device, step) for name, step in steps.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 366, 150))
    parser.add_argument("--acquired", type=int, nargs=3, default=(256, 320, 75))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    total = run(tuple(options.shape), tuple(options.acquired), torch.device(options.device))
    print(f"{'all':44s} {total:7.3f} s")


if __name__ == "__main__":
    main()
