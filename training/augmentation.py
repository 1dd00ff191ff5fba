"""Recipes of telephone channels: `augmented` varies the clips that a model is trained on, `shifted_channel` is one that
training never hears, to measure what a change of network costs.

| | `augmented` | `shifted_channel` |
|---|---|---|
| background | half of the clips, 8-30 dB below speech, 12 takes a kind | always, 10-15 dB, other takes |
| codec | at most one: GSM full rate, G.721 ADPCM or A-law | GSM twice, A-law between: a call between two mobiles |
| packet loss | 0.5-4 %, never with GSM | 3-5 % in bursts of 60 ms on average, on top of GSM |
| band | from 50-320 Hz to 3300-3900 Hz | from 400-450 Hz to 2600-2800 Hz |
| concealment | repetition or silence | repetition |
| room | a quarter of the clips, 0.1-0.3 s | none |
| speed, level | within 8 %, within 10 dB | as they are |

Everything ends in G.711 mu-law, as the service hears it, and keeps its length.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np

from preprocess_service.features.audio import Samples
from training import impairments as network
from training.line import FRAME_SAMPLES, code_words, heard
from training.synthetic.backgrounds import MAKERS
from training.synthetic.telephone import from_db

BACKGROUND_SHARE: Final = 0.5
BACKGROUND_SNR_DB: Final = (8.0, 30.0)
SPEED_SHARE: Final = 0.5
LARGEST_SPEED_CHANGE: Final = 0.08
ROOM_SHARE: Final = 0.25
ROOM_S: Final = (0.1, 0.3)
BAND_SHARE: Final = 0.5
LOWER_EDGE_HZ: Final = (50, 320)
UPPER_EDGE_HZ: Final = (3300, 3900)
GAIN_DB: Final = (-10.0, 10.0)
CODEC_SHARES: Final = {"none": 0.4, "alaw": 0.2, "g721": 0.2, "gsm": 0.2}
LOSS_SHARE: Final = 0.4
LOSS_RATE: Final = (0.005, 0.04)
BURST_FRAMES: Final = (1.0, 4.0)
TAKES_PER_KIND: Final = 12

SHIFTED_SNR_DB: Final = (10.0, 15.0)
SHIFTED_LOWER_EDGE_HZ: Final = (400, 450)
SHIFTED_UPPER_EDGE_HZ: Final = (2600, 2800)
SHIFTED_LOSS_RATE: Final = (0.03, 0.05)
SHIFTED_BURST_FRAMES: Final = 3.0

# The synthetic corpus seeds its takes with 32 bits: these are never among them, nor each other's.
_TRAINING_TAKES: Final = 1 << 40
_SHIFTED_TAKES: Final = 1 << 41
_KINDS: Final = tuple(MAKERS)


def clip_rng(clip_id: str, recipe: str, variant: int, seed: int) -> np.random.Generator:
    """The random numbers of one variant of one clip: the same on every machine, in every order of work."""
    digest = hashlib.sha256(f"{seed}\n{recipe}\n{variant}\n{clip_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))


def augmented(samples: Samples, rng: np.random.Generator) -> Samples:
    """One training variant of a clip: samples (n,) at 8000 Hz to (n,), on the levels of mu-law."""
    if rng.random() < SPEED_SHARE:
        samples = network.at_speed(samples, 1 + rng.uniform(-LARGEST_SPEED_CHANGE, LARGEST_SPEED_CHANGE))
    if rng.random() < ROOM_SHARE:
        samples = network.in_room(samples, rng.uniform(*ROOM_S), rng)
    if rng.random() < BACKGROUND_SHARE:
        samples = _with_take(samples, _TRAINING_TAKES, rng.uniform(*BACKGROUND_SNR_DB), rng)
    if rng.random() < BAND_SHARE:
        edges_hz = (int(rng.integers(*LOWER_EDGE_HZ)), int(rng.integers(*UPPER_EDGE_HZ)))
        samples = network.band_limited(samples, *edges_hz, order=int(rng.integers(1, 4)))
    samples = samples * np.float32(from_db(rng.uniform(*GAIN_DB)))
    codec = str(rng.choice(list(CODEC_SHARES), p=list(CODEC_SHARES.values())))
    samples = _through(samples, codec)
    if codec != "gsm" and rng.random() < LOSS_SHARE:
        samples = _with_losses(samples, rng)
    return heard(code_words(samples))


def shifted_channel(samples: Samples, rng: np.random.Generator) -> Samples:
    """A clip over a channel that `augmented` never makes: samples (n,) at 8000 Hz to (n,), on the levels of mu-law."""
    samples = _with_take(samples, _SHIFTED_TAKES, rng.uniform(*SHIFTED_SNR_DB), rng)
    edges_hz = (int(rng.integers(*SHIFTED_LOWER_EDGE_HZ)), int(rng.integers(*SHIFTED_UPPER_EDGE_HZ)))
    samples = network.band_limited(samples, *edges_hz, order=4)
    samples = _through(_through(_through(samples, "gsm"), "alaw"), "gsm")
    rate = rng.uniform(*SHIFTED_LOSS_RATE)
    lost = network.bursty_losses(-(-len(samples) // FRAME_SAMPLES), rate, SHIFTED_BURST_FRAMES, rng)
    return heard(code_words(network.with_losses(samples, lost, "repetition")))


def _with_take(samples: Samples, first_seed: int, snr_db: float, rng: np.random.Generator) -> Samples:
    kind = str(rng.choice(_KINDS))
    return network.with_background(samples, kind, first_seed + int(rng.integers(TAKES_PER_KIND)), snr_db, rng)


def _through(samples: Samples, codec: str) -> Samples:
    if codec == "gsm":
        return network.through_codec(samples, network.GSM_FULL_RATE)
    if codec == "g721":
        return network.through_codec(samples, network.G721_ADPCM)
    return network.through_alaw(samples) if codec == "alaw" else samples


def _with_losses(samples: Samples, rng: np.random.Generator) -> Samples:
    frames, rate = -(-len(samples) // FRAME_SAMPLES), rng.uniform(*LOSS_RATE)
    is_bursty = bool(rng.random() < 0.5)
    lost = (
        network.bursty_losses(frames, rate, rng.uniform(*BURST_FRAMES), rng)
        if is_bursty
        else network.random_losses(frames, rate, rng)
    )
    return network.with_losses(samples, lost, "repetition" if rng.random() < 0.5 else "silence")
