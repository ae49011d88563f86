# mypy: allow-untyped-defs
"""The gradients of `aia_kernels.forward`, in compiled loops over the same arrays."""

from __future__ import annotations

import numpy as np

from vidrepro.models.kernels import kernel
from vidrepro.models.mechanisms.aia_kernels import (
    HIGHEST,
    RESPONSE,
    ST,
    TOTAL,
    VALUE,
    C,
    along,
    extent,
    gates_of,
    lay_back,
    lay_out,
    mean_over_clips,
    places_of,
    released,
    see,
    start_of,
    sum_of,
    taps_of,
)
from vidrepro.models.mechanisms.aia_volumes import aligned, convolve, correlate, padded


@kernel
def backward(
    x,
    last,
    kept,
    weights,
    mean_first,
    norms,
    sums,
    plan,
    gradient,
    maps,
    of_maps,
    of_gates,
    of_weights,
    of_x,
    phase,
    phases,
    first,
    end,
):
    """From `gradient`, that of `out`, to `of_x` and `of_weights` ``(N, gates, 54)``, float64; fills also `sums`.

    To write on: `maps` and `of_maps`, ``(N, steps, T, H, W, C)`` and ``(N, 2, T, H, W, C)``, for what each step begins
    with, and for the gradients of that and of what its units pool; and `of_gates`, of the shape of `kept`.
    """
    for number in range(phase, phases):
        for clip in range(first, end):
            own, rows, flow, found = kept[clip], maps[clip], of_maps[clip], of_gates[clip]
            if number == 0:
                _begin_again(x[clip], last, rows, own, plan, gradient[clip], flow)
            else:
                unit = len(plan) - number
                _turn_back(own, weights, mean_first, norms, sums, found, of_weights[clip], plan[unit], rows.shape[1:])
                _unpool(rows, own, found, flow, plan, unit, of_x[clip], last)
            if number < len(plan):
                unit = len(plan) - 1 - number
                _collect(rows, own, flow, found, plan, unit)
                _close(own, sums, clip, found, plan[unit], rows.shape[1:])


@kernel
def _begin_again(x, last, maps, kept, plan, gradient, flow):
    """Lay out the input and the gradient, and work out again what the steps began with."""
    _, frames, height, _, _ = maps.shape
    for frame in range(frames):
        for line in range(height):
            lay_out(x, last, frame, line, maps[0, frame, line])
            lay_out(gradient, last, frame, line, flow[0, frame, line])
            for number in range(1, len(plan)):
                before, step = plan[number - 1], plan[number, 1]
                if step > before[1]:
                    row, product = maps[step - 1, frame, line], maps[step, frame, line]
                    gates = places_of(kept[VALUE], before)
                    see(row, before[0], gates, frame, line, maps.shape[1:], product)


@kernel
def _collect(maps, kept, flow, of_gates, plan, number):
    """The gradients of a unit's gates, and how many places reach each of its maxima.

    The last unit of a step finds the gradient of the step's outcome in `flow`, and leaves that of its maps, as far as
    it does not go through gates; others find the gradient of what the unit after them pooled.
    """
    _, frames, height, width, channels = maps.shape
    shape = maps.shape[1:]
    kind, step = plan[number, 0], plan[number, 1]
    outermost = number == len(plan) - 1 or plan[number + 1, 1] > step
    inside = plan[max(number - 1, 0)]
    innermost = number == 0 or inside[1] < step
    gates, gates_inside = places_of(kept[VALUE], plan[number]), places_of(kept[VALUE], inside)
    highest = places_of(kept[HIGHEST], plan[number])
    of_value, reached = places_of(of_gates[VALUE], plan[number]), places_of(of_gates[RESPONSE], plan[number])
    for place in range(len(reached)):
        of_value[place] = reached[place] = 0
    product, of_factor = aligned(width, channels, kept[0]), aligned(width, channels, kept[0])
    for frame in range(frames):
        for line in range(height):
            seen = row = maps[step, frame, line]
            gradient = flow[0 if outermost else 1, frame, line]
            for place in range(width):
                for channel in range(channels):
                    of_factor[place, channel] = row[place, channel] * gradient[place, channel]
            if outermost:
                see(gradient, kind, gates, frame, line, shape, product)
                for place in range(width):
                    for channel in range(channels):
                        gradient[place, channel] = product[place, channel]
            if not innermost:
                see(row, inside[0], gates_inside, frame, line, shape, product)
                seen = product
            if kind == C:
                start = start_of(C, 0, frame, line, shape)
                for place in range(width):
                    of_value[start + place] = sum_of(of_factor[place])
                    reached[start + place] = _count(seen[place], highest[start + place])
            else:
                for gate in range(3):
                    start = start_of(ST, gate, frame, line, shape)
                    _add(along(of_factor, gate), of_value[start:])
                    _match(along(seen, gate), highest[start:], reached[start:])


@kernel
def _add(numbers, total):
    for part in range(numbers.shape[0]):
        for place in range(numbers.shape[1]):
            total[place] += numbers[part, place]


@kernel
def _match(numbers, wanted, found):
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    for part in range(numbers.shape[0]):
        for place in range(numbers.shape[1]):
            found[place] += one if numbers[part, place] == wanted[place] else zero


@kernel
def _count(numbers, wanted):
    total = 0
    for place in range(len(numbers)):
        total += numbers[place] == wanted
    return total


@kernel
def _close(kept, sums, clip, of_gates, unit, shape):
    """From the gradients of gates to those of normalised responses.

    Their sum is kept, and that of them times the response's distance from the mean.
    """
    share = 1.0 if unit[0] == C else 1.0 / 3.0
    for gate in range(gates_of(unit)):
        start, after, _, _ = extent(unit, gate, shape)
        gates, responses, flow = kept[VALUE, start:after], kept[RESPONSE, start:after], of_gates[VALUE, start:after]
        mean = sums[0, unit[2] + gate, 0]
        total, along = 0.0, 0.0
        for place in range(len(flow)):
            gradient = flow[place] * share * gates[place] * (1 - gates[place])
            flow[place] = gradient
            total += gradient
            along += gradient * (responses[place] - mean)
        sums[clip + 1, unit[2] + gate, 0], sums[clip + 1, unit[2] + gate, 1] = total, along


@kernel
def _turn_back(kept, weights, mean_first, norms, sums, of_gates, of_weights, unit, shape):
    """From the gradients of normalised responses to those of weights and of pooled maps."""
    for gate in range(gates_of(unit)):
        start, after, size, over = extent(unit, gate, shape)
        number = unit[2] + gate
        mean, variance = sums[0, number, 0], sums[0, number, 1] + norms[number, 4]
        slope = norms[number, 0] / np.sqrt(variance)
        level, tilt = 0.0, 0.0
        if norms[number, 5] != 0:  # the batch's mean and variance move with every response
            level = mean_over_clips(sums, number, 0) / (after - start)
            tilt = mean_over_clips(sums, number, 1) / (after - start) / variance
        flow, responses = of_gates[VALUE, start:after], kept[RESPONSE, start:after]
        for place in range(len(flow)):
            flow[place] = (flow[place] - level - (responses[place] - mean) * tilt) * slope
        of_taps = correlate(padded(kept[:2, start:after], size), flow, size).reshape(54)
        for place in range(54):
            own = of_taps[place] if place < 27 else of_taps[place] / over
            of_weights[number, released(unit, gate, mean_first, place)] = own
        taps = taps_of(weights, unit, gate, mean_first, over, True)
        flows = padded(of_gates[VALUE : VALUE + 1, start:after], size)
        for part in range(2):
            convolve(flows, taps[part : part + 1], size, of_gates[part, start:after])
    of_highest, reached = places_of(of_gates[HIGHEST], unit), places_of(of_gates[RESPONSE], unit)
    for place in range(len(reached)):
        of_highest[place] /= reached[place]


@kernel
def _unpool(maps, kept, of_gates, flow, plan, number, of_x, last):
    """The gradient of what a unit pooled, for a maximum in equal parts to all that reach it; and what comes of it.

    The gradient of the step's maps is added to, and what the unit inside needs is left beside it.
    """
    _, frames, height, width, channels = maps.shape
    shape = maps.shape[1:]
    kind, step = plan[number, 0], plan[number, 1]
    inside = plan[max(number - 1, 0)]
    innermost = number == 0 or inside[1] < step
    gates_inside = places_of(kept[VALUE], inside)
    highest = places_of(kept[HIGHEST], plan[number])
    of_highest, of_total = places_of(of_gates[HIGHEST], plan[number]), places_of(of_gates[TOTAL], plan[number])
    product = aligned(width, channels, kept[0])
    for frame in range(frames):
        for line in range(height):
            seen = maps[step, frame, line]
            onto, share = flow[0, frame, line], flow[1, frame, line]
            if not innermost:
                see(seen, inside[0], gates_inside, frame, line, shape, product)
                seen = product
            for place in range(width):
                for channel in range(channels):
                    share[place, channel] = 0
            if kind == C:
                start = start_of(C, 0, frame, line, shape)
                for place in range(width):
                    top, of_top, of_all = highest[start + place], of_highest[start + place], of_total[start + place]
                    _share_one(seen[place], top, of_top, of_all, share[place])
            else:
                for gate in range(3):
                    start = start_of(ST, gate, frame, line, shape)
                    _share(along(seen, gate), highest[start:], of_highest[start:], of_total[start:], along(share, gate))
            of_row = share
            if not innermost:
                see(share, inside[0], gates_inside, frame, line, shape, product)
                of_row = product
            for place in range(width):
                for channel in range(channels):
                    onto[place, channel] += of_row[place, channel]
            if number == 0:
                lay_back(onto, last, frame, line, of_x)


@kernel
def _share(numbers, highest, of_highest, of_total, share):
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    for part in range(numbers.shape[0]):
        for place in range(numbers.shape[1]):
            reaches = one if numbers[part, place] == highest[place] else zero
            share[part, place] += reaches * of_highest[place] + of_total[place]


@kernel
def _share_one(numbers, highest, of_highest, of_total, share):
    zero, one = numbers.dtype.type(0), numbers.dtype.type(1)
    for place in range(len(numbers)):
        share[place] = (one if numbers[place] == highest else zero) * of_highest + of_total
