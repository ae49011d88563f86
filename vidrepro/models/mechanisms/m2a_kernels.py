# mypy: allow-untyped-defs
"""M2A's shell as compiled loops over clips ``(N*T, C, H, W)``: each reads a wide map as few times as can be.

Wide maps are worked on in tiles, some frames or a part of one, small enough to stay in the fastest cache with what is
computed from them. The rows of a tile, frames one after another, are copied to scratch memory where they do not lie
well: products of matrices then run at the processor's speed.

Clips are independent but for the gradients of the weights: these are summed by part, a share of the clips, so that
results do not depend on how many threads there are.
"""

from __future__ import annotations

import math

import numpy as np

from vidrepro.models.kernels import kernel
from vidrepro.models.mechanisms.m2a_between import attend, attend_again, of_attend, plus, total
from vidrepro.models.mechanisms.m2a_products import (
    LANES,
    add_product,
    add_products_of_rows,
    at,
    fetch,
    piece,
    squash_four,
    whole_numbers_at,
)

_ROWS = 8  # channels of a wide map worked on at once
_FAST = 90_000  # bytes of a tile: it stays in the fast caches
_STEP = 64  # numbers that become gates at once, and between two fetches
_LINE = 64  # bytes that are fetched at once
_single = np.float32
_piece = piece("contract", "reassoc", "nsz")


@kernel
def forward(like, numbers, x, down, down_bias, up, up_bias, kept, out, first, end):
    """The shell, for clips from `first` to `end`: fills `out`, and `kept` with what the gradient needs.

    Args:
        like: 0 for tensors of float32, 0.0 for float64. They are given by their addresses: to take one after another
            for an array lasts longer than the loops over a small map.
        numbers: the address of what `_read` reads.
        kept: ``(N, size)``, see `_parts`.
    """
    blocks, shape, few, size = _read(numbers)
    clips, frames, many, pixels = shape
    wide, results, places = at(x, like, shape), at(out, like, shape), at(kept, like, (clips, size))
    weights, biases = at(down, like, (few, many)), at(down_bias, like, (few,))
    other_weights, other_biases = at(up, like, (many, few)), at(up_bias, like, (many,))
    scratch = _aligned(_ROWS + few, _row(frames, pixels, few, wide.itemsize), wide)
    tokens, features = np.empty((frames, few * pixels), wide.dtype), np.empty((frames, few, pixels), wide.dtype)
    for clip in range(first, end):
        reduced, behaviour = _parts(places[clip], frames, pixels, few)
        _reduce(wide[clip], weights, biases, scratch, reduced)
        attend(_flat(reduced), blocks, behaviour, tokens, _flat(features))
        _expand(wide[clip], features, other_weights, other_biases, scratch, results[clip])


@kernel
def backward(
    like,
    numbers,
    x,
    gradient,
    down,
    up,
    up_bias,
    kept,
    of_x,
    of_down,
    of_down_bias,
    of_up,
    of_up_bias,
    rest,
    parts,
    first,
    end,
):
    """The gradients, from what `forward` kept of all clips, for the parts of the clips from `first` to `end`.

    Args:
        of_x, of_down, of_down_bias, of_up, of_up_bias: those of the arguments of `forward`.
        rest: ``(parts - 1, ...)``: the last four, one after another, for the parts after the first.
        parts: how many there are. One call for all of them adds up their shares; else `add_up` has to.
    """
    blocks, shape, few, size = _read(numbers)
    clips, frames, many, pixels = shape
    wide, flows, results = at(x, like, shape), at(gradient, like, shape), at(of_x, like, shape)
    places = at(kept, like, (clips, size))
    weights, other_weights, biases = at(down, like, (few, many)), at(up, like, (many, few)), at(up_bias, like, (many,))
    scratch = _aligned(2 * _ROWS + 2 * (few + 4), _row(frames, pixels, few, wide.itemsize), wide)
    of_features, of_reduced = np.empty((frames, few, pixels), wide.dtype), np.empty((frames, few, pixels), wide.dtype)
    tokens, of_tokens = np.empty((frames, few * pixels), wide.dtype), np.empty((frames, few * pixels), wide.dtype)
    features = np.empty((frames, few, pixels), wide.dtype)
    for part in range(first, end):
        if part:
            a, b, c, d = _in_rest(like, rest, part, many, few)
        else:
            a, b, c, d = of_down, of_down_bias, of_up, of_up_bias
        of_weights, of_biases = at(a, like, (few, many)), at(b, like, (few,))
        of_others, of_other_biases = at(c, like, (many, few)), at(d, like, (many,))
        of_weights[:], of_biases[:], of_others[:], of_other_biases[:] = 0, 0, 0, 0
        for clip in range(clips * part // parts, clips * (part + 1) // parts):
            reduced, behaviour = _parts(places[clip], frames, pixels, few)
            attend_again(_flat(reduced), blocks, behaviour, tokens, _flat(features))
            _of_expand(
                *(wide[clip], flows[clip], features, other_weights, biases, scratch),
                *(of_features, results[clip], of_others, of_other_biases),
            )
            of_attend(_flat(reduced), blocks, behaviour, tokens, _flat(of_features), of_tokens, _flat(of_reduced))
            _of_reduce(wide[clip], of_reduced, weights, scratch, results[clip], of_weights, of_biases)
    if end - first == parts:
        add_up(like, of_down, of_down_bias, of_up, of_up_bias, rest, parts, many, few)


@kernel
def add_up(like, of_down, of_down_bias, of_up, of_up_bias, rest, parts, many, few):
    """Add the shares of all parts after the first to those of the first, in their order."""
    sizes = few * many, few, few * many, many
    addresses = of_down, of_down_bias, of_up, of_up_bias
    for part in range(1, parts):
        own = _in_rest(like, rest, part, many, few)
        for n in range(4):
            plus(at(own[n], like, (sizes[n],)), at(addresses[n], like, (sizes[n],)))


@_piece
def _in_rest(like, rest, part, many, few):
    """Where a part's share of the learnt tensors' gradients is."""
    itemsize = at(rest, like, (1,)).itemsize
    first = rest + (part - 1) * (2 * few * many + few + many) * itemsize
    second = first + few * many * itemsize
    third = second + few * itemsize
    return first, second, third, third + few * many * itemsize


@_piece
def _read(numbers):
    """What a shell does between its convolutions (see `m2a_between`); the wide maps' shape ``(N, T, C, P)``; how many
    channels it reduces them to; and how many numbers `forward` keeps of a clip.
    """
    found = whole_numbers_at(numbers, 10)
    blocks = found[0], found[1], found[2], found[3], found[4]
    shape = found[5], found[0], found[6], found[7]
    return blocks, shape, found[8], found[9]


@_piece
def _parts(kept, frames, pixels, few):
    """What is behind the first convolution, ``(T, c, P)``, and what `attend` keeps."""
    size = frames * few * pixels
    return kept[:size].reshape((frames, few, pixels)), kept[size:].reshape((frames, 2 + frames))


@_piece
def _row(frames, pixels, few, itemsize):
    """How long a row of a tile is, at most."""
    count, width = _tile(frames, pixels, few, itemsize)
    return _whole(count * width)


@_piece
def _flat(maps):
    return maps.reshape((len(maps), -1))


@_piece
def _tile(frames, pixels, few, itemsize):
    """How many frames, and how many pixels of each, are a tile: whole frames unless one is too large."""
    fitting = max(_FAST // itemsize // (few + 10), LANES)
    if pixels > fitting:
        width = -(-pixels // -(-pixels // fitting))
        return 1, -(-width // LANES) * LANES
    pieces = -(-frames // (fitting // pixels))
    return -(-frames // pieces), pixels


@_piece
def _aligned(rows, size, like):
    buffer = np.empty(rows * size + LANES, like.dtype)
    start = -(buffer.ctypes.data // like.itemsize) % LANES
    return buffer[start : start + rows * size].reshape(rows, size)


@_piece
def _take(maps, channel, count, f, e, a, b, rows, first):
    """Copy the pixels from a to b of frames f to e of some channels to rows."""
    for frame in range(f, e):
        start = (frame - f) * (b - a)
        for row in range(count):
            source = maps[frame, channel + row, a:b]
            target = rows[first + row, start : start + b - a]
            for p in range(b - a):
                target[p] = source[p]


@_piece
def _put(rows, first, count, f, e, a, b, maps):
    """The way back, from channel 0 on."""
    for frame in range(f, e):
        start = (frame - f) * (b - a)
        for row in range(count):
            source = rows[first + row, start : start + b - a]
            target = maps[frame, row, a:b]
            for p in range(b - a):
                target[p] = source[p]


@piece("contract")  # the remainder below is of two close numbers: no other order
def _squash(values):
    """values = sigmoid(values); in float32 with an exponential of torch's exactness that fits vectors."""
    if values.itemsize == 8:
        for p in range(values.shape[0]):
            values[p] = 1 / (1 + math.exp(-values[p]))
        return
    for p in range(values.shape[0]):
        z = values[p]
        z = _single(87) if z > _single(87) else z
        z = _single(-87) if z < _single(-87) else z
        shifted = np.int32(_single(128.5) - z * _single(1.44269504))
        power = np.int32((shifted - 1) << 23).view(np.float32)  # 2 ** whole
        whole = _single(shifted) - _single(128)
        rest = z + whole * _single(0.693359375) + whole * _single(-2.12194440e-4)  # exp(-z) = power * exp(-rest)
        series = _single(-1.9875691500e-4)
        series = series * rest + _single(1.3981999507e-3)
        series = series * rest - _single(8.3334519073e-3)
        series = series * rest + _single(4.1665795894e-2)
        series = series * rest - _single(1.6666665459e-1)
        series = series * rest + _single(5.0000001201e-1)
        values[p] = _single(1) / (_single(1) + (series * rest * rest - rest + _single(1)) * power)


@kernel
def _reduce(x, weight, bias, scratch, reduced):
    """``reduced = weight x + bias`` of a clip: ``(T, C, P)`` to ``(T, c, P)``."""
    few, many = weight.shape
    count, width = _tile(len(x), x.shape[2], few, x.itemsize)
    for f in range(0, len(x), count):
        e = min(f + count, len(x))
        for a in range(0, x.shape[2], width):
            b = min(a + width, x.shape[2])
            size = (e - f) * (b - a)
            for row in range(few):
                scratch[_ROWS + row, :size] = bias[row]
            for channel in range(0, many, _ROWS):
                rows = min(_ROWS, many - channel)
                source, at, start = scratch, 0, 0
                if _lies_well(x, e - f, rows):
                    source, at, start = x[f], channel, a
                else:
                    _take(x, channel, rows, f, e, a, b, scratch, 0)
                add_product(weight, 0, channel, False, source, at, start, scratch, _ROWS, 0, few, rows, _whole(size))
            _put(scratch, _ROWS, few, f, e, a, b, reduced)


@_piece
def _whole(size):
    """So many numbers of a row that whole vectors hold them: one number after another takes as long as vectors. What
    stands behind a tile's numbers gets into no result: it is left behind, or zero where rows are summed up.
    """
    return -(-size // LANES) * LANES


@_piece
def _lies_well(x, frames, rows):
    """Whether rows can be used where they are."""
    return frames == 1 and rows == _ROWS and x.shape[2] % LANES == 0


@_piece
def _open(weight, bias, channel, rows, tile, scratch, first, second, third, three):
    """The gates of some channels in the first rows, from the features behind them.

    Args:
        first, second, third: maps that are wanted next, the last one if `three`: what is needed of them is fetched in
            the meantime.
    """
    f, e, a, b = tile
    size, few = (e - f) * (b - a), weight.shape[1]
    _, many, pixels = first.shape
    for row in range(rows):
        scratch[row, :size] = bias[channel + row]
    add_product(weight, channel, 0, False, scratch, _ROWS, 0, scratch, 0, 0, rows, few, _whole(size))
    for row in range(rows):
        frame, pixel = f, 0
        for p in range(0, size, _STEP):
            end = min(p + _STEP, size)
            if end - p == _STEP and weight.itemsize == 4:
                squash_four(scratch, row * scratch.shape[1] + p)
            else:
                _squash(scratch[row, p:end])
            place = (frame * many + channel + row) * pixels + a + pixel
            for ahead in range(place, place + end - p, _LINE // first.itemsize):
                fetch(first, ahead)
                fetch(second, ahead)
                if three:
                    fetch(third, ahead)
            pixel += _STEP
            while pixel >= b - a:
                pixel, frame = pixel - (b - a), frame + 1


@kernel
def _expand(x, features, weight, bias, scratch, out):
    """``out = x * gate + x`` with ``gate = sigmoid(weight features + bias)``."""
    many, few = weight.shape
    one = x.dtype.type(1)
    count, width = _tile(len(x), x.shape[2], few, x.itemsize)
    for f in range(0, len(x), count):
        e = min(f + count, len(x))
        for a in range(0, x.shape[2], width):
            b = min(a + width, x.shape[2])
            _take(features, 0, few, f, e, a, b, scratch, _ROWS)
            for channel in range(0, many, _ROWS):
                rows = min(_ROWS, many - channel)
                _open(weight, bias, channel, rows, (f, e, a, b), scratch, x, out, out, False)
                for frame in range(f, e):
                    start = (frame - f) * (b - a)
                    for row in range(rows):
                        opened = scratch[row, start : start + b - a]
                        source, target = x[frame, channel + row, a:b], out[frame, channel + row, a:b]
                        for p in range(b - a):
                            target[p] = source[p] * (one + opened[p])


@kernel
def _of_expand(x, of_out, features, weight, bias, scratch, of_features, of_x, of_weight, of_bias):
    """The gradients of `_expand`."""
    many, few = weight.shape
    one = x.dtype.type(1)
    count, width = _tile(len(x), x.shape[2], few, x.itemsize)
    sums = _ROWS + few + 4
    for f in range(0, len(x), count):
        e = min(f + count, len(x))
        for a in range(0, x.shape[2], width):
            b = min(a + width, x.shape[2])
            size = (e - f) * (b - a)
            _take(features, 0, few, f, e, a, b, scratch, _ROWS)
            scratch[:sums, size:] = 0
            scratch[sums : sums + few, :size] = 0
            for channel in range(0, many, _ROWS):
                rows = min(_ROWS, many - channel)
                _open(weight, bias, channel, rows, (f, e, a, b), scratch, x, of_out, of_x, True)
                scratch[:rows, size:] = 0
                for frame in range(f, e):
                    start = (frame - f) * (b - a)
                    for row in range(rows):
                        source, flow = x[frame, channel + row, a:b], of_out[frame, channel + row, a:b]
                        target, result = scratch[row, start : start + b - a], of_x[frame, channel + row, a:b]
                        for p in range(b - a):
                            value, gradient = target[p], flow[p]
                            target[p] = source[p] * gradient * value * (one - value)
                            result[p] = gradient * (one + value)
                for row in range(rows):
                    of_bias[channel + row] += total(scratch[row, :size])
                add_product(weight, 0, channel, True, scratch, 0, 0, scratch, sums, 0, few, rows, _whole(size))
                add_products_of_rows(scratch, 0, 0, rows, scratch, _ROWS, 0, few, size, of_weight, channel, 0)
            _put(scratch, sums, few, f, e, a, b, of_features)


@kernel
def _of_reduce(x, of_reduced, weight, scratch, of_x, of_weight, of_bias):
    """The gradients of `_reduce`; adds to `of_x`."""
    few, many = weight.shape
    count, width = _tile(len(x), x.shape[2], few, x.itemsize)
    extra = _ROWS + few + 4
    for f in range(0, len(x), count):
        e = min(f + count, len(x))
        for a in range(0, x.shape[2], width):
            b = min(a + width, x.shape[2])
            size = (e - f) * (b - a)
            _take(of_reduced, 0, few, f, e, a, b, scratch, _ROWS)
            scratch[:extra, size:] = 0
            for row in range(few):
                of_bias[row] += total(scratch[_ROWS + row, :size])
            for channel in range(0, many, _ROWS):
                rows = min(_ROWS, many - channel)
                straight = _lies_well(x, e - f, rows)
                source, at, start, target, place = scratch, 0, 0, scratch, extra
                if straight:
                    source, at, start, target, place = x[f], channel, a, of_x[f], channel
                else:
                    _take(x, channel, rows, f, e, a, b, scratch, 0)
                    scratch[extra : extra + rows, :size] = 0
                add_products_of_rows(scratch, _ROWS, 0, few, source, at, start, rows, size, of_weight, 0, channel)
                add_product(weight, channel, 0, True, scratch, _ROWS, 0, target, place, start, rows, few, _whole(size))
                if straight:
                    continue
                for frame in range(f, e):
                    start = (frame - f) * (b - a)
                    for row in range(rows):
                        added = scratch[extra + row, start : start + b - a]
                        plus(added, of_x[frame, channel + row, a:b])
