# mypy: allow-untyped-defs
"""AIA's gates as compiled loops, as few over whole maps as can be.

Units are numbered as they run. Each pools its step's maps times the gates of the unit before it: of the one inside it,
or, at the beginning of a step, of the last one of the step before. Arrays are C-contiguous and of one dtype where
nothing else is said:

- `x`: ``(N, T, C, H, W)``, or ``(N, T, H, W, C)`` if `last`; so are `out` and gradients;
- `maps`: to write on, ``(N, T, H, W, C)``, where T, H and W can be pooled in whole vectors;
- `plan`: a row for each unit, in int64: its kind, step, first gate, first place and number of places;
- `kept`: ``(N, 4, places)``: pooled maxima, sums, what the convolutions make of them, and the gates. Those of a unit
  lie one behind the other, each over what is left of T, H, W and C in that order;
- `weights`: the convolutions', ``(gates, 54)``;
- `norms`: in float64 and for each gate its norm's weight, bias, running mean, running variance, epsilon, and 1 if it is
  in training;
- `sums`: in float64 ``(1 + N, gates, 2)``: the mean and the variance that the norms took away, and what a norm in
  training needs of each clip.

Work is shared out by clips, from `first` to `end`. A norm in training needs all clips to have passed one phase before
the next begins. What is summed over clips is kept by clip until then, so that results do not depend on the sharing.
"""

from __future__ import annotations

import numpy as np

from vidrepro.models.kernels import exact_kernel, kernel
from vidrepro.models.mechanisms.aia_volumes import aligned, convolve, padded, squash

C, ST = 1, 2  # kinds of units
HIGHEST, TOTAL, RESPONSE, VALUE = range(4)
_LANES = 16
# Released weights (2, 3, 3, 3) run over (C, H, W), (T, C, W), and (T, H, C) or (T, H, W): where each number is taken
# from if its axes shall run as those of the maps do.
_ORDERS = np.stack(
    [np.arange(54).reshape(2, 3, 3, 3).transpose(0, *axes).ravel() for axes in ((2, 3, 1), (1, 3, 2), (1, 2, 3))]
)


@kernel
def forward(x, last, kept, weights, mean_first, norms, sums, plan, maps, out, phase, phases, first, end):
    """From `x` to `out`; fills also `kept` and `sums`.

    `maps` and `kept` may be of one clip only, for all to use in turn, if no norm is in training.
    """
    rounds, clips = phases - phase, end - first
    for turn in range(rounds * clips):
        number, clip = phase + turn // clips, first + turn % clips
        if len(maps) == 1:
            number, clip = phase + turn % rounds, first + turn // rounds
        own, rows = kept[clip % len(kept)], maps[clip % len(maps)]
        if number > 0:
            _open(own, norms, sums, clip, plan[number - 1], rows.shape)
        if number == len(plan):
            _finish(rows, own, plan[number - 1], out[clip], last)
        else:
            _pool(x[clip], last, rows, own, plan, number)
            _respond(own, weights, mean_first, sums[clip + 1], plan[number], rows.shape)


@kernel
def extent(unit, gate, shape):
    """Where the places of a unit's gate begin and end, the axes they lie along, and how many numbers each pools."""
    frames, height, width, channels = shape
    start = unit[3]
    size = (frames, height, width)
    over = channels
    if unit[0] == ST:
        size = (height, width, channels)
        over = frames
        if gate > 0:
            start += height * width * channels
            size = (frames, width, channels)
            over = height
        if gate > 1:
            start += frames * width * channels
            size = (frames, height, channels)
            over = width
    return start, start + size[0] * size[1] * size[2], size, over


@kernel
def gates_of(unit):
    return 1 if unit[0] == C else 3


@kernel
def places_of(kept, unit):
    return kept[unit[3] : unit[3] + unit[4]]


@kernel
def start_of(kind, gate, frame, line, shape):
    """Where, among those of a unit, the places of a gate begin that a row of maps touches: its W or C, or both."""
    frames, height, width, channels = shape
    if kind == C:
        return (frame * height + line) * width
    if gate == 0:
        return line * width * channels
    if gate == 1:
        return (height + frame) * width * channels
    return (height + frames) * width * channels + (frame * height + line) * channels


@kernel
def along(row, gate):
    """A row ``(W, C)`` as a gate of `ST` pools it: over the first axis."""
    return row if gate == 2 else row.reshape(1, row.size)


@kernel
def lay_out(x, last, frame, line, row):
    """A line of a frame, as a row ``(W, C)``."""
    for place in range(row.shape[0]):
        if last:
            for channel in range(row.shape[1]):
                row[place, channel] = x[frame, line, place, channel]
        else:
            for channel in range(row.shape[1]):
                row[place, channel] = x[frame, channel, line, place]


@kernel
def lay_back(row, last, frame, line, x):
    for place in range(row.shape[0]):
        if last:
            for channel in range(row.shape[1]):
                x[frame, line, place, channel] = row[place, channel]
        else:
            for channel in range(row.shape[1]):
                x[frame, channel, line, place] = row[place, channel]


@exact_kernel  # the backward pass looks for what reaches a maximum, and must see the very same numbers
def see(row, kind, gates, frame, line, shape, product):
    """A row of maps ``(W, C)`` times the gates of a unit."""
    width, channels = row.shape
    if kind == C:
        one = gates[start_of(C, 0, frame, line, shape) :]
        for place in range(width):
            for channel in range(channels):
                product[place, channel] = row[place, channel] * one[place]
    else:
        third = gates.dtype.type(1 / 3)
        over_t = gates[start_of(ST, 0, frame, line, shape) :][: row.size].reshape(row.shape)
        over_h = gates[start_of(ST, 1, frame, line, shape) :][: row.size].reshape(row.shape)
        over_w = gates[start_of(ST, 2, frame, line, shape) :]
        for place in range(width):
            for channel in range(channels):
                together = over_t[place, channel] + over_h[place, channel] + over_w[channel]
                product[place, channel] = row[place, channel] * (together * third)


@kernel
def _pool(x, last, maps, kept, plan, number):
    frames, height, width, channels = maps.shape
    kind, step = plan[number, 0], plan[number, 1]
    before = plan[max(number - 1, 0)]
    gates = places_of(kept[VALUE], before)
    highest, total = places_of(kept[HIGHEST], plan[number]), places_of(kept[TOTAL], plan[number])
    for place in range(len(total)):
        highest[place] = -np.inf
        total[place] = 0
    product = aligned(width, channels, kept[0])
    lanes = np.empty(_LANES, maps.dtype)
    by_planes = number == 0 and kind == C and not last
    for frame in range(frames):
        if by_planes:
            start = start_of(C, 0, frame, 0, maps.shape)
            _take(x[frame].reshape(channels, height * width), highest[start:], total[start:])
        for line in range(height):
            row = seen = maps[frame, line]
            if number == 0:
                lay_out(x, last, frame, line, row)
            else:
                seen = row if step > before[1] else product
                see(row, before[0], gates, frame, line, maps.shape, seen)
            if kind == ST:
                for gate in range(3):
                    start = start_of(ST, gate, frame, line, maps.shape)
                    _take(along(seen, gate), highest[start:], total[start:])
            elif not by_planes:
                start = start_of(C, 0, frame, line, maps.shape)
                for place in range(width):
                    total[start + place] = sum_of(seen[place])
                    highest[start + place] = _highest(seen[place], lanes)


@kernel
def _take(numbers, highest, total):
    """Over the first axis."""
    for part in range(numbers.shape[0]):
        for place in range(numbers.shape[1]):
            number = numbers[part, place]
            total[place] += number  # carries a NaN, which no comparison does
            highest[place] = number if number > highest[place] else highest[place]


@kernel
def sum_of(numbers):
    total = numbers.dtype.type(0)
    for place in range(len(numbers)):
        total += numbers[place]
    return total


@kernel
def _highest(numbers, lanes):
    """By lanes: compilers take one number after another where only one maximum is kept."""
    for lane in range(_LANES):
        lanes[lane] = -np.inf
    for start in range(0, len(numbers) - _LANES + 1, _LANES):
        part = numbers[start:]
        for lane in range(_LANES):
            lanes[lane] = part[lane] if part[lane] > lanes[lane] else lanes[lane]
    highest = lanes[0]
    for lane in range(1, _LANES):
        highest = lanes[lane] if lanes[lane] > highest else highest
    for place in range(len(numbers) // _LANES * _LANES, len(numbers)):
        highest = numbers[place] if numbers[place] > highest else highest
    return highest


@kernel
def taps_of(weights, unit, gate, mean_first, over, turned):
    """The weight of a gate as ``(2, 3, 3, 3)`` taps for the maximum and the sum, axes in the order of the maps."""
    taps = np.empty(54, weights.dtype)
    for place in range(54):
        number = weights[unit[2] + gate, released(unit, gate, mean_first, place)]
        taps[place // 27 * 27 + 26 - place % 27 if turned else place] = number if place < 27 else number / over
    return taps.reshape(2, 3, 3, 3)


@kernel
def released(unit, gate, mean_first, place):
    """Which number of a released weight one of `taps_of` is."""
    return (_ORDERS[gate if unit[0] == ST else 2, place] + 27 * mean_first) % 54


@kernel
def _respond(kept, weights, mean_first, moments, unit, shape):
    """Convolve what was pooled; keeps the mean response, and the sum of squared differences from it."""
    for gate in range(gates_of(unit)):
        start, after, size, over = extent(unit, gate, shape)
        response = kept[RESPONSE, start:after]
        taps = taps_of(weights, unit, gate, mean_first, over, False)
        convolve(padded(kept[:2, start:after], size), taps, size, response)
        total, apart = 0.0, 0.0
        for place in range(len(response)):
            total += response[place]
        mean = total / len(response)
        for place in range(len(response)):
            apart += (response[place] - mean) ** 2
        moments[unit[2] + gate, 0], moments[unit[2] + gate, 1] = mean, apart


@kernel
def _open(kept, norms, sums, clip, unit, shape):
    """Normalise and squash the responses of a unit."""
    for gate in range(gates_of(unit)):
        number = unit[2] + gate
        start, after, _, _ = extent(unit, gate, shape)
        scale, shift, mean, variance, epsilon, training = norms[number]
        if training != 0:
            mean = mean_over_clips(sums, number, 0)
            variance = mean_over_clips(sums, number, 1) / (after - start)
            for each in range(1, len(sums)):
                variance += (sums[each, number, 0] - mean) ** 2 / (len(sums) - 1)
        if clip == 0:
            sums[0, number, 0], sums[0, number, 1] = mean, variance
        slope = scale / np.sqrt(variance + epsilon)
        squash(kept[RESPONSE, start:after], mean, slope, shift, kept[VALUE, start:after])


@kernel
def mean_over_clips(sums, number, which):
    total = 0.0
    for clip in range(1, len(sums)):
        total += sums[clip, number, which]
    return total / (len(sums) - 1)


@kernel
def _finish(maps, kept, unit, out, last):
    """The maps of the last step times the gates of its last unit."""
    frames, height, width, channels = maps.shape
    gates = places_of(kept[VALUE], unit)
    product = aligned(width, channels, kept[0])
    for frame in range(frames):
        for line in range(height):
            see(maps[frame, line], unit[0], gates, frame, line, maps.shape, product)
            lay_back(product, last, frame, line, out)
