"""Feeds a channel, and reports the input of a fault."""

import random
import sys

from tests.fuzz.channels import Channel


def feed(name: str, channel: Channel, inputs: int, seed: int) -> None:
    """Feed so many inputs; each has a seed of its own, so that a fault's input can be repeated alone."""
    chance = random.Random(f"{name} {seed}")
    for number, data in zip(range(inputs), channel.inputs(chance), strict=False):
        try:
            channel.feed(chance, data)
        except Exception:
            sys.stderr.write(f"{name}, seed {seed}, input {number}: fault on {data[:2000]!r}\n")
            raise
