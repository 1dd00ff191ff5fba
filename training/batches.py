"""Batches read ahead of the training step by tf.data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

import tensorflow as tf

PREFETCHED: Final = 4

Batch = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]  # inputs, targets, weights of the targets: by name


class Batches(Protocol):
    """One pass over some rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Batch: ...

    def shuffle(self) -> None:
        """Begins another pass."""


def read_ahead(batches: Batches) -> tf.data.Dataset[Batch]:
    """A dataset of all batches, begun anew at every pass and read in a thread of its own, in order."""
    example = batches[0]
    flat = tf.nest.flatten(example)
    signature = [tf.TensorSpec((None, *each.shape[1:]), each.dtype) for each in flat]

    def passes() -> Iterator[int]:
        batches.shuffle()
        yield from range(len(batches))

    def read(index: tf.Tensor) -> Any:
        tensors = tf.numpy_function(
            lambda number: tf.nest.flatten(batches[int(number)]), [index], [each.dtype for each in signature]
        )
        known = [tf.ensure_shape(tensor, each.shape) for tensor, each in zip(tensors, signature, strict=True)]
        return tf.nest.pack_sequence_as(example, known)

    indices = tf.data.Dataset.from_generator(passes, output_signature=tf.TensorSpec((), tf.int64))
    indices = indices.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return indices.map(read).prefetch(PREFETCHED)
