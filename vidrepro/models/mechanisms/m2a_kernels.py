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
from vidrepro.models.mechanisms.m2a_between import attend, of_attend, plus, total
from vidrepro.models.mechanisms.m2a_products import add_product, add_products_of_rows, fetch, piece

_ROWS = 8  # channels of a wide map worked on at once
_LANES = 16  # numbers to which rows are aligned
_FAST = 57_000  # bytes that stay in the fastest cache, more or less
_STEP = 64  # numbers between two fetches
_LINE = 64  # bytes that are fetched at once
_single = np.float32
_piece = piece("contract", "reassoc", "nsz")


@kernel
def forward(x, down, down_bias, up, up_bias, blocks, first, end, kept, out):
    """The shell, for clips from `first` to `end`: fills `out`, and `kept`: for each clip what the gradient needs.

    Args:
        blocks: see `vidrepro.models.mechanisms.m2a_between`.
        kept: ``(N, size)``, see `_parts`.
    """
    frames, pixels = blocks[0], x.shape[2] * x.shape[3]
    many, few = x.shape[1], len(down)
    wide, results = x.reshape(-1, frames, many, pixels), out.reshape(-1, frames, many, pixels)
    scratch = _aligned(_ROWS + few, _row(frames, pixels, few, x.itemsize), x)
    for clip in range(first, end):
        reduced, tokens, features, behaviour = _parts(kept[clip], frames, pixels, few)
        _reduce(wide[clip], down.reshape(few, many), down_bias, scratch, reduced)
        attend(_flat(reduced), blocks, behaviour, tokens, _flat(features))
        _expand(wide[clip], features, up.reshape(many, few), up_bias, scratch, results[clip])


@kernel
def backward(x, gradient, down, up, up_bias, blocks, kept, first, end, of_x, summed):
    """The gradients, from what `forward` kept of all clips, for parts of the clips from `first` to `end`.

    Args:
        of_x: that of x.
        summed: ``(parts, ...)``, those of the other arguments of `forward`, one after another.
    """
    frames, pixels = blocks[0], x.shape[2] * x.shape[3]
    many, few, clips = x.shape[1], len(down), len(kept)
    wide, flows = x.reshape(-1, frames, many, pixels), gradient.reshape(-1, frames, many, pixels)
    results = of_x.reshape(-1, frames, many, pixels)
    scratch = _aligned(2 * _ROWS + 2 * (few + 4), _row(frames, pixels, few, x.itemsize), x)
    of_features, of_reduced = np.empty((frames, few, pixels), x.dtype), np.empty((frames, few, pixels), x.dtype)
    of_tokens = np.empty((frames, few * pixels), x.dtype)
    edges = few * many, few * many + few, 2 * few * many + few
    for part in range(first, end):
        summed[part] = 0
        of_down, of_down_bias = summed[part, : edges[0]].reshape(few, many), summed[part, edges[0] : edges[1]]
        of_up, of_up_bias = summed[part, edges[1] : edges[2]].reshape(many, few), summed[part, edges[2] :]
        for clip in range(clips * part // len(summed), clips * (part + 1) // len(summed)):
            reduced, tokens, features, behaviour = _parts(kept[clip], frames, pixels, few)
            _of_expand(
                *(wide[clip], flows[clip], features, up.reshape(many, few), up_bias, scratch),
                *(of_features, results[clip], of_up, of_up_bias),
            )
            of_attend(_flat(reduced), blocks, behaviour, tokens, _flat(of_features), of_tokens, _flat(of_reduced))
            _of_reduce(
                *(wide[clip], of_reduced, down.reshape(few, many), scratch),
                *(results[clip], of_down, of_down_bias),
            )


@kernel
def add_up(summed):
    """Add all rows to the first, in their order."""
    for part in range(1, len(summed)):
        plus(summed[part], summed[0])


@_piece
def _parts(kept, frames, pixels, few):
    """Behind the first convolution, what attends, before the second: ``(T, c, P)``, the middle one flat; and
    what `attend` keeps.
    """
    size = frames * few * pixels
    shape = frames, few, pixels
    return (
        kept[:size].reshape(shape),
        kept[size : 2 * size].reshape((frames, few * pixels)),
        kept[2 * size : 3 * size].reshape(shape),
        kept[3 * size :].reshape((frames, 2 + frames)),
    )


@_piece
def _row(frames, pixels, few, itemsize):
    """How long a row of a tile is, at most."""
    count, width = _tile(frames, pixels, few, itemsize)
    return -(-count * width // _LANES) * _LANES


@_piece
def _flat(maps):
    return maps.reshape((len(maps), -1))


@_piece
def _tile(frames, pixels, few, itemsize):
    """How many frames, and how many pixels of each, are a tile: whole frames unless one is too large."""
    fitting = max(_FAST // itemsize // (few + 10), _LANES)
    if pixels > fitting:
        width = -(-pixels // -(-pixels // fitting))
        return 1, -(-width // _LANES) * _LANES
    pieces = -(-frames // (fitting // pixels))
    return -(-frames // pieces), pixels


@_piece
def _aligned(rows, size, like):
    buffer = np.empty(rows * size + _LANES, like.dtype)
    start = -(buffer.ctypes.data // like.itemsize) % _LANES
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
                add_product(weight, 0, channel, False, source, at, start, scratch, _ROWS, few, rows, size)
            _put(scratch, _ROWS, few, f, e, a, b, reduced)


@_piece
def _lies_well(x, frames, rows):
    """Whether rows can be used where they are."""
    return frames == 1 and rows == _ROWS and x.shape[2] % _LANES == 0


@_piece
def _open(weight, bias, channel, rows, tile, scratch, first, second, third):
    """The gates of some channels in the first rows, from the features behind them.

    Args:
        first, second, third: maps that are wanted next: what is needed of them is fetched in the meantime.
    """
    f, e, a, b = tile
    size, few = (e - f) * (b - a), weight.shape[1]
    _, many, pixels = first.shape
    for row in range(rows):
        scratch[row, :size] = bias[channel + row]
    add_product(weight, channel, 0, False, scratch, _ROWS, 0, scratch, 0, rows, few, size)
    for row in range(rows):
        p = 0
        while p < size:
            end = min(p + _STEP, size)
            _squash(scratch[row, p:end])
            place = ((f + p // (b - a)) * many + channel + row) * pixels + a + p % (b - a)
            for ahead in range(place, place + end - p, _LINE // first.itemsize):
                fetch(first, ahead)
                fetch(second, ahead)
                fetch(third, ahead)
            p = end


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
                _open(weight, bias, channel, rows, (f, e, a, b), scratch, x, out, out)
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
                _open(weight, bias, channel, rows, (f, e, a, b), scratch, x, of_out, of_x)
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
                add_product(weight, 0, channel, True, scratch, 0, 0, scratch, sums, few, rows, size)
                add_products_of_rows(scratch, 0, rows, scratch, _ROWS, 0, few, size, of_weight, channel, 0)
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
                source, at, start = scratch, 0, 0
                if _lies_well(x, e - f, rows):
                    source, at, start = x[f], channel, a
                else:
                    _take(x, channel, rows, f, e, a, b, scratch, 0)
                add_products_of_rows(scratch, _ROWS, few, source, at, start, rows, size, of_weight, 0, channel)
                scratch[extra : extra + rows, :size] = 0
                add_product(weight, channel, 0, True, scratch, _ROWS, 0, scratch, extra, rows, few, size)
                for frame in range(f, e):
                    start = (frame - f) * (b - a)
                    for row in range(rows):
                        added = scratch[extra + row, start : start + b - a]
                        plus(added, of_x[frame, channel + row, a:b])
