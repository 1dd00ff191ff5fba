"""Types of command-line arguments, for argparse."""

import argparse
import math


def positive_integer(text: str) -> int:
    """A whole number from 1 to 2**31 - 1."""
    number = int(text)
    if not 0 < number < 2**31:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def positive_seconds(text: str) -> float:
    """Seconds above 0."""
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return seconds
