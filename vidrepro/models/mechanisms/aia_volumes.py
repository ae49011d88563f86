# mypy: allow-untyped-defs
"""What happens to pooled maps in an AIA gate: a 3x3x3 convolution of two volumes to one, and a sigmoid.

Volumes are flat, ``A*B*C`` numbers; sizes are ``(A, B, C)``.
"""

from __future__ import annotations

import numpy as np

from vidrepro.models.kernels import kernel

_LOG2_E, _LN_2 = 1.4426950408889634, 0.6931471805599453
_BLOCK = 256  # numbers worked on at once, in the fastest cache


@kernel
def aligned(rows, length, like):
    """Rows to write on, of the dtype of a line of numbers; the first begins where whole vectors are read at once."""
    lanes = 64 // like.itemsize
    whole = np.empty(rows * length + lanes, like.dtype)
    start = (-whole.ctypes.data % 64) // like.itemsize
    return whole[start : start + rows * length].reshape(rows, length)


@kernel
def padded(numbers, size):
    """``(parts, A*B*C)`` with zeros around in A and B: ``(parts, A + 2, (B + 2)*C)``."""
    parts, run, length = numbers.shape[0], size[1] * size[2], size[2]
    volumes = aligned(parts, (size[0] + 2) * (run + 2 * length), numbers[0])
    for part in range(parts):
        for place in range(volumes.shape[1]):
            volumes[part, place] = 0
    planes = volumes.reshape(parts, size[0] + 2, run + 2 * length)
    for part in range(parts):
        for plane in range(size[0]):
            source, target = numbers[part, plane * run : (plane + 1) * run], planes[part, plane + 1, length:]
            for place in range(run):
                target[place] = source[place]
    return planes


@kernel
def convolve(padded, taps, size, out):
    """``(parts, A + 2, (B + 2)*C)`` with ``(parts, 3, 3, 3)`` to A*B*C numbers."""
    run, length = size[1] * size[2], size[2]
    sides = aligned(3, run, out)  # products for the taps along C, added up where they are and shifted only then
    before, here, behind = sides[0], sides[1], sides[2]
    for plane in range(size[0]):
        for place in range(run):
            before[place] = here[place] = behind[place] = 0
        for part in range(taps.shape[0]):
            for step in range(3):
                _convolve_plane(padded[part, plane + step], length, taps[part, step], before, here, behind)
        for line in range(0, run, length):
            before[line + length - 1] = 0
            behind[line] = 0
        target = out[plane * run : (plane + 1) * run]
        target[0] = here[0]
        second, own, sooner = target[1:], here[1:], behind[1:]
        for place in range(run - 1):
            second[place] = before[place] + own[place]
        for place in range(run - 1):
            target[place] += sooner[place]


@kernel
def _convolve_plane(flat, length, taps, before, here, behind):
    one, two, three = flat, flat[length:], flat[2 * length :]
    (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = _line(taps[0]), _line(taps[1]), _line(taps[2])
    for place in range(len(here)):
        a, b, c = one[place], two[place], three[place]
        before[place] += a0 * a + b0 * b + c0 * c
        here[place] += a1 * a + b1 * b + c1 * c
        behind[place] += a2 * a + b2 * b + c2 * c


@kernel
def _line(taps):
    return taps[0], taps[1], taps[2]


@kernel
def correlate(padded, of_response, size):
    """The gradient of the taps of `convolve`, in float64."""
    run, length = size[1] * size[2], size[2]
    of_taps = np.zeros((2, 3, 3, 3))
    sides = aligned(3, run, of_response)  # the gradient where a tap along C found its numbers
    before, here, behind = sides[0], sides[1], sides[2]
    for plane in range(size[0]):
        flow = of_response[plane * run : (plane + 1) * run]
        later, second = flow[1:], behind[1:]
        for place in range(run):
            here[place] = flow[place]
        for place in range(run - 1):
            before[place] = later[place]
            second[place] = flow[place]
        for line in range(0, run, length):
            before[line + length - 1] = 0
            behind[line] = 0
        for part in range(2):
            for step in range(3):
                _correlate_plane(padded[part, plane + step], length, before, here, behind, of_taps[part, step])
    return of_taps


@kernel
def _correlate_plane(flat, length, before, here, behind, of_taps):
    one, two, three = flat, flat[length:], flat[2 * length :]
    a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = here.dtype.type(0)
    for place in range(len(here)):
        a, b, c = one[place], two[place], three[place]
        a0 += a * before[place]
        a1 += a * here[place]
        a2 += a * behind[place]
        b0 += b * before[place]
        b1 += b * here[place]
        b2 += b * behind[place]
        c0 += c * before[place]
        c1 += c * here[place]
        c2 += c * behind[place]
    for number, found in enumerate((a0, a1, a2, b0, b1, b2, c0, c1, c2)):
        of_taps[number // 3, number % 3] += found


@kernel
def squash(response, mean, slope, shift, value):
    """The sigmoid of the normalised response, in double precision.

    An exponential is a power of two, written as the exponent of a float64, times that of a number under a half. Asking
    the C library for one after the other takes seven times as long.
    """
    exponents, rest = np.empty(_BLOCK, np.int64), np.empty(_BLOCK)
    powers = exponents.view(np.float64)
    for start in range(0, len(response), _BLOCK):
        numbers, out = response[start : start + _BLOCK], value[start : start + _BLOCK]
        for place in range(len(numbers)):
            number = (mean - numbers[place]) * slope - shift
            number = 710.0 if number > 710.0 else (-700.0 if number < -700.0 else number)  # at 710: infinity
            whole = np.floor((number if number == number else 0.0) * _LOG2_E + 0.5)
            exponents[place] = (np.int64(whole) + 1023) << 52
            rest[place] = number - whole * _LN_2
        for place in range(len(numbers)):
            number = rest[place]
            high = 1 / 362880 + number * (1 / 3628800 + number * (1 / 39916800))
            high = 1 / 720 + number * (1 / 5040 + number * (1 / 40320 + number * high))
            low = 1 + number * (1 + number * (1 / 2 + number * (1 / 6 + number * (1 / 24 + number * (1 / 120)))))
            out[place] = 1 / (1 + (low + number**6 * high) * powers[place])
