"""What a simulated study costs: CPU seconds on one thread, whole heads."""

import time

import torch

from mmocnet.simulate.settings import ProtocolName, StudySettings
from mmocnet.simulate.study import simulate_study

PROTOCOLS: tuple[ProtocolName, ...] = ("ukb", "clinical", "reference3t", "dou")


def _seconds(protocol: ProtocolName, seed: int, device: str) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    simulate_study(StudySettings(protocol, lesion_free_share=0.0), seed, device)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() - cpu, time.perf_counter() - wall


def _median(protocol: ProtocolName, device: str) -> tuple[str, float, str]:
    cpu_s, wall_s = sorted(_seconds(protocol, seed, device) for seed in (1, 2, 3))[1]
    if device == "cpu":
        return f"simulate {protocol}, CPU, one thread", cpu_s, "CPU-s"
    return f"simulate {protocol}, GPU", wall_s, "s"


def measure() -> list[tuple[str, float, str]]:
    torch.set_num_threads(1)
    rows = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        _seconds("clinical", 0, device)  # loads the templates
        rows += [_median(protocol, device) for protocol in PROTOCOLS]
    return rows
