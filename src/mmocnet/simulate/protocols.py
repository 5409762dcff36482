"""The acquisitions that the simulator knows; `docs/concepts/simulator.md` says after what."""

from dataclasses import replace

import numpy as np

from mmocnet.errors import InputError
from mmocnet.simulate.settings import Protocol, ProtocolName

PROTOCOLS: dict[str, Protocol] = {
    "ukb": Protocol("ukb", 3.0, (9.4, 20.0), 27.0, 15.0, (0.8, 0.8, 3.0)),
    "clinical": Protocol("clinical", 3.0, (22.0,), 28.0, 15.0, (0.6, 0.6, 2.0)),
    "reference3t": Protocol("reference3t", 3.0, (20.0,), 28.0, 15.0, (0.6, 0.6, 2.0)),
    "dou": Protocol(
        "dou",
        3.0,
        (24.0,),
        17.0,
        20.0,
        (0.45, 0.45, 1.0),
        output_mm=0.5,
        eight_bit=True,
        skull_stripped=True,
    ),
    "aibl": Protocol("aibl", 3.0, (20.0,), 27.0, 20.0, (0.94, 0.94, 1.75)),
    "t2star": Protocol(
        "t2star",
        3.0,
        (25.0,),
        650.0,
        20.0,
        (1.0, 1.0, 3.5),
        image="magnitude",
        flow_compensated=False,
    ),
    "1.5t": Protocol("1.5t", 1.5, (40.0,), 49.0, 15.0, (0.8, 0.8, 2.0)),
    "7t": Protocol("7t", 7.0, (12.5,), 27.0, 12.0, (0.4, 0.4, 1.2), snr=30.0),
}
# The share of each protocol among random studies: what users are most likely to bring.
_SHARES = {"ukb": 0.15, "clinical": 0.25, "dou": 0.35, "aibl": 0.1, "t2star": 0.08, "1.5t": 0.04}


def resolve_protocol(name: ProtocolName, rng: np.random.Generator) -> Protocol:
    """Return a protocol with every range resolved to a number.

    Args:
        name: A protocol, or random for one drawn with randomised numbers.
        rng: Randomness; used by `random`, `clinical` and `dou`.

    Raises:
        InputError: If the name is unknown.
    """
    if name == "random":
        names = [*_SHARES, "7t"]
        shares = np.array([*_SHARES.values(), 1 - sum(_SHARES.values())])
        return _vary(PROTOCOLS[str(rng.choice(names, p=shares))], rng)
    if name not in PROTOCOLS:
        raise InputError(f"protocol must be one of {', '.join(PROTOCOLS)}, random, got {name!r}")
    protocol = PROTOCOLS[name]
    if name == "clinical":
        pixel = float(rng.uniform(0.45, 0.7))
        thickness = float(rng.choice([1.5, 2.0, 3.0, 5.0], p=[0.35, 0.35, 0.2, 0.1]))
        protocol = replace(
            protocol, voxel_mm=(pixel, pixel, thickness), te_ms=(float(rng.uniform(20, 25)),)
        )
    if name == "dou":
        protocol = replace(
            protocol,
            flip_deg=float(rng.uniform(10, 20)),
            snr=float(np.exp(rng.uniform(np.log(25), np.log(60)))),
            highpass_width=int(rng.choice([64, 96, 128])),
        )
    return protocol


def _vary(protocol: Protocol, rng: np.random.Generator) -> Protocol:
    """Return the protocol with the numbers that transfer worst randomised around its own.

    The flip angle mostly falls short of the nominal one: its field is weaker towards the rim, and
    shifted echoes and magnetisation transfer weigh T1 less than the formula does.
    """
    pixel = float(np.clip(protocol.voxel_mm[0] * rng.uniform(0.85, 1.25), 0.4, 1.1))
    thickness = float(protocol.voxel_mm[2] * rng.uniform(0.8, 1.4))
    te = tuple(float(t * rng.uniform(0.85, 1.2)) for t in protocol.te_ms)
    tr = float(protocol.tr_ms * rng.uniform(0.8, 1.6))
    if protocol.te_ms[-1] < protocol.tr_ms:  # the Dou sequence shifts its echo past the next pulse
        tr = max(tr, te[-1] + 3.0)
    processed = protocol.image == "swi"
    return replace(
        protocol,
        voxel_mm=(pixel, pixel, thickness),
        te_ms=te,
        tr_ms=tr,
        flip_deg=float(protocol.flip_deg * rng.uniform(0.45, 1.2)),
        image="magnitude" if processed and rng.random() < 0.1 else protocol.image,
        output_mm=0.5 if protocol.output_mm and rng.random() < 0.9 else None,
        eight_bit=bool(rng.random() < (0.8 if protocol.eight_bit else 0.15)),
        skull_stripped=bool(protocol.skull_stripped or rng.random() < 0.35),
        snr=float(np.exp(rng.uniform(np.log(10), np.log(60)))),
        highpass_width=int(rng.choice([32, 48, 64, 64, 96, 128, 128])),
        mask_power=int(rng.choice([2, 3, 4, 4, 5])),
        phase_sign=int(rng.choice([1, -1])),
    )
