# mypy: allow-untyped-defs
"""What stands between the convolutions of M2A's shell, as compiled loops over the frames ``(T, c*P)`` of one clip.

`blocks`: frames, normalises, motion, attends, skip. `kept` ``(T, 2 + T)``: each frame's mean and 1 / deviation, and how
it attends to the others.
"""

from __future__ import annotations

import math

import numpy as np

from vidrepro.models.kernels import kernel
from vidrepro.models.mechanisms.m2a_products import LANES, ROWS, add_product, add_products_of_rows, piece

NONE, ZEROS, FIRST = range(3)  # the motion: none, or what the frame after the last is
REDUCED, ATTENDED = 1, 2  # the skip: what entered the norm, or the attention
_EPSILON = 1e-5  # of the layer norm
_STRETCH = 512  # numbers of every frame that stay in the fastest cache
_piece = piece("contract", "reassoc", "nsz")


@kernel
def attend(reduced, blocks, kept, tokens, features):
    """Norm, motion, attention, skip of a clip's frames ``(T, c*P)``."""
    frames, normalises, _, attends, _ = blocks
    for frame in range(frames):
        kept[frame, 0], kept[frame, 1] = 0, 1
        if normalises:
            kept[frame, 0], kept[frame, 1] = _statistics(reduced[frame])
    _fill(reduced, blocks, kept, tokens)
    if attends:
        scores = np.empty((frames, frames), reduced.dtype)
        _dots(tokens, tokens, scores)
        for frame in range(frames):
            _attention(scores[frame], tokens.shape[1], kept[frame, 2:])
    _mix(reduced, blocks, kept, tokens, features)


@kernel
def attend_again(reduced, blocks, kept, tokens, features):
    """`attend` from what it kept: the tokens and the features, which take longer to keep than to work out."""
    _fill(reduced, blocks, kept, tokens)
    _mix(reduced, blocks, kept, tokens, features)


@_piece
def _fill(reduced, blocks, kept, tokens):
    """The tokens, what attends: the frames after norm and motion."""
    frames, _, motion, _, _ = blocks
    for frame in range(frames):
        _normalise(reduced[frame], kept[frame], tokens[frame])
        following = (frame + 1) % frames
        if motion != NONE:
            if following or motion == FIRST:
                _subtract(reduced[following], kept[following], tokens[frame])
            else:
                _negate(tokens[frame])


@_piece
def _mix(reduced, blocks, kept, tokens, features):
    """What each frame gets of all tokens, and the skip."""
    frames, _, _, attends, skip = blocks
    if not attends:
        features[:] = tokens
        return
    for frame in range(frames):
        if skip == NONE:
            features[frame] = 0
        else:
            features[frame] = reduced[frame] if skip == REDUCED else tokens[frame]
    add_product(kept, 0, 2, False, tokens, 0, 0, features, 0, 0, frames, frames, reduced.shape[1])


@kernel
def of_attend(reduced, blocks, kept, tokens, of_features, of_tokens, of_reduced):
    """The gradient of `attend`."""
    frames, normalises, motion, attends, skip = blocks
    width = reduced.shape[1]
    share = reduced.dtype.type(1 / width)
    if attends:
        of_scores = np.empty((frames, frames), reduced.dtype)
        _dots(of_features, tokens, of_scores)
        for frame in range(frames):
            _of_attention(of_scores[frame], width, kept[frame, 2:])
        both = of_scores + of_scores.T  # tokens are queries and keys
        for frame in range(frames):
            of_tokens[frame] = 0
            if skip == ATTENDED:
                of_tokens[frame] = of_features[frame]
        add_product(kept, 2, 0, True, of_features, 0, 0, of_tokens, 0, 0, frames, frames, width)
        add_product(both, 0, 0, False, tokens, 0, 0, of_tokens, 0, 0, frames, frames, width)
    else:
        of_tokens[:] = of_features
    for frame in range(frames):
        target, this, values = of_reduced[frame], of_tokens[frame], reduced[frame]
        target[:] = this
        if motion != NONE:
            _negate(target)
            if frame or motion == FIRST:
                plus(of_tokens[(frame - 1) % frames], target)
        if normalises:
            mean, scale = kept[frame, 0], kept[frame, 1]
            level, tilt = total(target) * share, _along(target, values, mean) * scale * scale * share
            for p in range(width):
                target[p] = (target[p] - level - (values[p] - mean) * tilt) * scale
        if attends and skip == REDUCED:
            plus(of_features[frame], target)


@piece()  # as written, so that equal frames have no difference
def _normalise(values, kept, target):
    mean, scale = kept[0], kept[1]
    for p in range(values.shape[0]):
        target[p] = (values[p] - mean) * scale


@piece()
def _subtract(values, kept, target):
    mean, scale = kept[0], kept[1]
    for p in range(values.shape[0]):
        target[p] = (values[p] - mean) * scale - target[p]


@_piece
def _negate(target):
    for p in range(target.shape[0]):
        target[p] = -target[p]


@_piece
def _statistics(values):
    one, size = values.dtype.type(1), values.dtype.type(values.shape[0])
    mean = total(values) / size
    variance = _along(values, values, mean) / size
    return mean, one / np.sqrt(variance + values.dtype.type(_EPSILON))


@_piece
def _along(flow, values, mean):
    total = values.dtype.type(0)
    for p in range(values.shape[0]):
        total += flow[p] * (values[p] - mean)
    return total


@piece("contract")
def _attention(scores, width, weights):
    """How one frame attends to all."""
    highest = -np.inf
    for other in range(weights.shape[0]):
        weights[other] = scores[other] / math.sqrt(width)
        highest = max(highest, weights[other])
    total = 0.0
    for other in range(weights.shape[0]):
        weights[other] = math.exp(weights[other] - highest)
        total += weights[other]
    for other in range(weights.shape[0]):
        weights[other] /= total


@piece("contract")
def _of_attention(of_scores, width, weights):
    """From the gradient of how one frame attends to that of its scores, in place."""
    total = weights.dtype.type(0)
    for other in range(weights.shape[0]):
        total += of_scores[other] * weights[other]
    for other in range(weights.shape[0]):
        of_scores[other] = (of_scores[other] - total) * weights[other] / math.sqrt(width)


@_piece
def _dots(left, right, products):
    """The product of each frame with each."""
    frames, width = left.shape
    if frames % ROWS or width % LANES:
        for one in range(frames):
            for other in range(frames):
                products[one, other] = _dot(left[one], right[other])
        return
    products[:] = 0
    for start in range(0, width, _STRETCH):
        size = min(_STRETCH, width - start)
        add_products_of_rows(left, 0, start, frames, right, 0, start, frames, size, products, 0, 0)


@_piece
def plus(values, target):
    for p in range(target.shape[0]):
        target[p] += values[p]


@_piece
def total(values):
    found = values.dtype.type(0)
    for p in range(values.shape[0]):
        found += values[p]
    return found


@_piece
def _dot(left, right):
    total = left.dtype.type(0)
    for p in range(left.shape[0]):
        total += left[p] * right[p]
    return total
