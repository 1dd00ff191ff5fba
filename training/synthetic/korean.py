"""What a sentence composer must know of Korean spelling: particles, syllables, and how recognisers garble them."""

from __future__ import annotations

import random
from typing import Final

HANGUL_FIRST: Final = 0xAC00
HANGUL_LAST: Final = 0xD7A3
FINALS: Final = 28  # final consonants a block can have, none included
RIEUL: Final = 8
_DIGIT_READINGS: Final = dict(zip("0123456789", "영일이삼사오육칠팔구", strict=True))

# key: (after a consonant, after a vowel)
PARTICLES: Final = {
    "이": ("이", "가"),
    "은": ("은", "는"),
    "을": ("을", "를"),
    "과": ("과", "와"),
    "아": ("아", "야"),
    "으로": ("으로", "로"),
    "이나": ("이나", "나"),
    "이랑": ("이랑", "랑"),
    "이라": ("이라", "라"),
    "이에요": ("이에요", "예요"),
    "이죠": ("이죠", "죠"),
    "이요": ("이요", "요"),
}


def is_syllable(char: str) -> bool:
    """Whether `char` is one composed Hangul block."""
    return HANGUL_FIRST <= ord(char) <= HANGUL_LAST


def count_syllables(text: str) -> int:
    """How many Hangul blocks `text` has."""
    return sum(map(is_syllable, text))


def final_consonant(word: str) -> int:
    """Index of the last sounded block's final consonant, 0 for none; a digit counts as its Sino-Korean reading.

    Raises ValueError for a word that ends in anything else.
    """
    last = word.rstrip(" .,!?'\")")[-1:]
    last = _DIGIT_READINGS.get(last, last)
    if not last or not is_syllable(last):
        raise ValueError(f"{word!r} must end in a Hangul block or a digit to take a particle")
    return (ord(last) - HANGUL_FIRST) % FINALS


def josa(word: str, particle: str) -> str:
    """`word` with the form of `particle` (a key of PARTICLES) that its last sound asks for.

    Raises ValueError for an unknown particle or a word that does not end in Hangul or a digit.
    """
    if particle not in PARTICLES:
        raise ValueError(f"particle {particle!r} must be one of {', '.join(PARTICLES)}")
    final = final_consonant(word)
    if particle == "으로" and final == RIEUL:
        return word + "로"
    after_consonant, after_vowel = PARTICLES[particle]
    return word + (after_consonant if final else after_vowel)


def without_punctuation(text: str) -> str:
    """`text` as a recogniser writes it: words and single spaces only."""
    return " ".join("".join(char if char.isalnum() else " " for char in text).split())


def garble(text: str, rng: random.Random) -> str:
    """A transcript with one to three recognition errors: lost words, lost or doubled syllables, lost spaces.

    At least one word is left; a text of one block comes back as it is.
    """
    for _ in range(rng.randint(1, 3)):
        words = text.split()
        at = rng.randrange(len(words))
        error = rng.choice(("word", "syllable", "syllable", "double", "space", "final"))
        words = _garble_word(words, at, error, rng)
        text = " ".join(word for word in words if word)
    return text


def _garble_word(words: list[str], at: int, error: str, rng: random.Random) -> list[str]:
    word, position = words[at], rng.randrange(len(words[at]))
    if error == "word" and len(words) > 2:
        return words[:at] + words[at + 1 :]
    if error == "space" and at + 1 < len(words):
        return [*words[:at], word + words[at + 1], *words[at + 2 :]]
    if error == "double":
        word = word[:position] + word[position] + word[position:]
    elif error == "final" and is_syllable(word[-1]):
        block = ord(word[-1]) - HANGUL_FIRST
        word = word[:-1] + chr(HANGUL_FIRST + block - block % FINALS)
    elif len(word) > 1:
        word = word[:position] + word[position + 1 :]
    return [*words[:at], word, *words[at + 1 :]]
