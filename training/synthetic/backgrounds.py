"""Background sound behind a call, synthesised: each maker takes a Generator and gives one take at 8 kHz."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Samples = NDArray[np.float32]
Waveform = NDArray[np.float64]
Maker = Callable[[np.random.Generator], Waveform]

LINE_RATE_HZ: Final = 8_000
TAKE_S: Final = 10.0
TAKE_SAMPLES: Final = round(LINE_RATE_HZ * TAKE_S)
CACHED_TAKES: Final = 192  # 320 kB each

_SECONDS: Final = np.arange(TAKE_SAMPLES) / LINE_RATE_HZ


def _white(rng: np.random.Generator) -> Waveform:
    return rng.standard_normal(TAKE_SAMPLES)


def _band(samples: Waveform, low_hz: float, high_hz: float) -> Waveform:
    sos = signal.butter(2, (low_hz, high_hz), "bandpass", fs=LINE_RATE_HZ, output="sos")
    return signal.sosfilt(sos, samples)


def _low(samples: Waveform, cut_hz: float) -> Waveform:
    sos = signal.butter(2, cut_hz, fs=LINE_RATE_HZ, output="sos")
    return signal.sosfilt(sos, samples)


def _slow(rng: np.random.Generator, points_per_s: float, low: float, high: float) -> Waveform:
    """A control curve that wanders between `low` and `high`."""
    count = max(4, round(points_per_s * TAKE_S))
    knots = rng.uniform(low, high, count)
    return np.interp(_SECONDS, np.linspace(0, TAKE_S, count), knots)


def _tone(frequency_hz: Waveform) -> Waveform:
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / LINE_RATE_HZ)


def _ringing(rng: np.random.Generator, per_s: float, decay_ms: tuple[float, float]) -> Waveform:
    """Impulses at random times, each a short decaying burst."""
    count = int(rng.poisson(per_s * TAKE_S))
    clicks = np.zeros(TAKE_SAMPLES)
    heights = rng.exponential(1.0, count) * rng.choice((-1.0, 1.0), count)
    np.add.at(clicks, rng.integers(0, TAKE_SAMPLES, count), heights)
    decay_s = rng.uniform(*decay_ms) / 1000
    length = round(5 * decay_s * LINE_RATE_HZ)
    burst = np.exp(-np.arange(length) / (decay_s * LINE_RATE_HZ)) * rng.standard_normal(length)
    return signal.oaconvolve(clicks, burst)[:TAKE_SAMPLES]


def siren(rng: np.random.Generator) -> Waveform:
    """A vehicle's wail, yelp or two-tone horn, coming nearer or going away."""
    low_hz, high_hz = rng.uniform(450, 750), rng.uniform(1000, 1600)
    period_s = float(rng.choice((0.35, 1.2, 3.0, 4.5))) * rng.uniform(0.9, 1.1)
    phase = (_SECONDS / period_s + rng.uniform()) % 1
    shape = np.where(phase < 0.5, 0.0, 1.0) if rng.uniform() < 0.3 else 1 - np.abs(2 * phase - 1)
    tone = np.tanh(rng.uniform(1, 3) * _tone(low_hz + (high_hz - low_hz) * shape))
    sound: Waveform = tone * _slow(rng, 0.4, 0.4, 1.0) + 0.1 * _low(_white(rng), 800)
    return sound


def alarm(rng: np.random.Generator) -> Waveform:
    """A smoke alarm's beeps, a bell or a buzzer, in a repeating pattern."""
    frequency_hz, beep_s = rng.uniform(1800, 3200), rng.uniform(0.1, 0.5)
    pattern = ((_SECONDS + rng.uniform(0, 2)) % (beep_s * rng.uniform(1.6, 2.5)) < beep_s).astype(np.float64)
    if rng.uniform() < 0.4:
        strike_hz = rng.uniform(8, 16)
        pattern = np.exp(-6 * ((_SECONDS * strike_hz) % 1))
    tone = _tone(np.full(TAKE_SAMPLES, frequency_hz)) + 0.4 * _tone(np.full(TAKE_SAMPLES, frequency_hz * 0.51))
    sound: Waveform = tone * pattern + 0.05 * _white(rng)
    return sound


def fire(rng: np.random.Generator) -> Waveform:
    """Crackle over a low roar."""
    crackle = _ringing(rng, rng.uniform(15, 60), (1, 4))
    roar = _low(_white(rng), rng.uniform(200, 500)) * _slow(rng, 3, 0.5, 1.2)
    sound: Waveform = crackle / crackle.std() + rng.uniform(0.5, 1.2) * roar / roar.std()
    return sound


def wind(rng: np.random.Generator) -> Waveform:
    """Gusts: low noise and a whistling band that rise and fall together."""
    gust = _slow(rng, 1.0, 0.1, 1.0) ** 2
    centre_hz = rng.uniform(400, 1200)
    whistle = _band(_white(rng), centre_hz * 0.8, centre_hz * 1.25)
    sound: Waveform = (_low(_white(rng), rng.uniform(150, 400)) * 3 + whistle) * (0.1 + gust)
    return sound


def rain(rng: np.random.Generator) -> Waveform:
    """Steady hiss with single drops."""
    hiss = _band(_white(rng), rng.uniform(500, 1200), 3600)
    drops = _ringing(rng, rng.uniform(60, 250), (0.5, 2))
    sound: Waveform = hiss / hiss.std() + rng.uniform(0.3, 1.0) * drops / drops.std()
    return sound


def _talker(rng: np.random.Generator) -> Waveform:
    pitch_hz = rng.uniform(90, 230) * _slow(rng, 3, 0.85, 1.2)
    pulse = np.cumsum(pitch_hz) / LINE_RATE_HZ % 1
    source = (pulse < 0.1) - 0.1 + 0.05 * rng.standard_normal(TAKE_SAMPLES)
    syllables = np.clip(_slow(rng, rng.uniform(8, 11), -0.7, 1.0), 0, 1)
    first_hz, second_hz = rng.uniform(350, 750), rng.uniform(1100, 2000)
    vowel = _band(source, first_hz * 0.8, first_hz * 1.2) + 0.6 * _band(source, second_hz * 0.85, second_hz * 1.15)
    sound: Waveform = vowel * syllables / vowel.std()
    return sound


def babble(rng: np.random.Generator) -> Waveform:
    """Many talkers at once, none of them saying words."""
    talkers = int(rng.integers(4, 8))
    sound: Waveform = np.sum([_talker(rng) * rng.uniform(0.4, 1.0) for _ in range(talkers)], axis=0)
    return sound


def traffic(rng: np.random.Generator) -> Waveform:
    """Road rumble, cars that pass, sometimes a horn."""
    sound = _low(_white(rng), rng.uniform(150, 300)) * 2
    for centre_s in rng.uniform(0, TAKE_S, int(rng.integers(2, 6))):
        passing = np.exp(-(((_SECONDS - centre_s) / rng.uniform(0.4, 1.2)) ** 2))
        sound += _band(_white(rng), 200, rng.uniform(1200, 2500)) * passing * rng.uniform(0.5, 1.5)
    if rng.uniform() < 0.4:
        start_s, pitch_hz = rng.uniform(0, TAKE_S - 1), rng.uniform(350, 480)
        horn = np.sign(_tone(np.full(TAKE_SAMPLES, pitch_hz))) + np.sign(_tone(np.full(TAKE_SAMPLES, pitch_hz * 1.26)))
        sound += 0.4 * horn * ((start_s < _SECONDS) & (start_s + 0.6 > _SECONDS))
    return sound


def music(rng: np.random.Generator) -> Waveform:
    """Chords and a beat from a radio."""
    beat_s, root_hz = rng.uniform(0.35, 0.7), rng.uniform(110, 220)
    beat = (_SECONDS / beat_s).astype(np.int64)
    scale = np.array((0, 2, 4, 5, 7, 9, 12))
    decay = np.exp(-3 * (_SECONDS / beat_s % 1))
    sound = np.zeros(TAKE_SAMPLES)
    for octave in (1.0, 2.0, 4.0):
        notes = root_hz * octave * 2 ** (rng.choice(scale, beat[-1] + 1) / 12)
        tone = _tone(notes[beat])
        sound += (tone + 0.3 * tone**3) * decay / octave
    drum = _band(_white(rng), 100, 3000) * np.exp(-25 * (_SECONDS / beat_s % 1))
    sound += rng.uniform(0.2, 0.8) * drum
    return sound


def room(rng: np.random.Generator) -> Waveform:
    """A quiet room: low noise, falling with frequency."""
    sound: Waveform = _low(_white(rng), rng.uniform(150, 400)) * 4 + rng.uniform(0.05, 0.3) * _white(rng)
    return sound


def line(rng: np.random.Generator) -> Waveform:
    """A poor line: hiss, mains hum and its harmonics."""
    hum = np.sum([_tone(np.full(TAKE_SAMPLES, 60.0 * k)) * rng.uniform(0, 1) / k for k in range(1, 8)], axis=0)
    sound: Waveform = _white(rng) + rng.uniform(0.2, 1.5) * hum
    return sound


MAKERS: Final[dict[str, Maker]] = {
    "siren": siren,
    "alarm": alarm,
    "fire": fire,
    "wind": wind,
    "rain": rain,
    "babble": babble,
    "traffic": traffic,
    "music": music,
    "room": room,
    "line": line,
}


@lru_cache(maxsize=CACHED_TAKES)
def take(kind: str, seed: int) -> Samples:
    """The background take of a kind of MAKERS and a seed: float32 (TAKE_SAMPLES,) of mean square 1 at LINE_RATE_HZ.

    Shared between callers and therefore read-only. Raises KeyError for an unknown kind.
    """
    samples = MAKERS[kind](np.random.default_rng(seed))
    samples -= samples.mean()
    made: Samples = (samples / np.sqrt(np.mean(samples**2))).astype(np.float32)
    made.flags.writeable = False
    return made
