# mypy: allow-untyped-defs
"""Products of thin matrices within kernels, at the processor's speed: a few vectors of sums stay in its registers.

numba does not come to such loops by itself, as results could overlap with what is read; `_sums` writes them in LLVM's
vectors of 64 bytes, which LLVM cuts up for processors with shorter ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # numbers that are whole vectors of any type
ROWS = 4  # lines, and vectors of each, worked on at once
_BYTES = 64  # of a vector


def piece(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Part of a kernel, always put in its place: a call takes as long as a row."""
    inlined: Callable[..., Any] = numba.njit(fastmath=set(flags), error_model="numpy", forceinline=True)
    return inlined


def _pointing(of_type: Callable[[Any], Any]) -> Any:
    @intrinsic
    def pointer(typingctx, address, like):
        def codegen(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(of_type(like))(types.intp, like), codegen

    return pointer


_pointer = _pointing(lambda like: types.float32 if isinstance(like, types.Integer) else types.float64)
_pointer_to_whole = _pointing(lambda like: types.int64)


@piece()
def at(address, like, shape):
    """The contiguous array at an address: of float32 where `like` is a whole number, of float64 where it is a float."""
    return numba.carray(_pointer(address, like), shape)


@piece()
def whole_numbers_at(address, count):
    """The array of int64 at an address."""
    return numba.carray(_pointer_to_whole(address, 0), (count,))


class _Tools:
    """What the loops below are written with: vectors of the first argument's numbers, or of `lanes` of them."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, lanes: int | None = None) -> None:
        self.context, self.builder, self.types, self.arguments = context, builder, signature.args, arguments
        number = context.get_data_type(signature.args[0].dtype)
        self.bytes = context.get_abi_sizeof(number)
        self.lanes = lanes or _BYTES // self.bytes
        self.vector, self.index = ir.VectorType(number, self.lanes), ir.IntType(64)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        name = f"llvm.fmuladd.v{self.lanes}f{self.bytes * 8}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        self.fused = cgutils.get_or_insert_function(builder.module, kind, name)

    def place(self, which: int, *offsets: Any) -> Any:
        """Where the sum of offsets is in an argument, an array."""
        array = self.context.make_array(self.types[which])(self.context, self.builder, self.arguments[which])
        total = offsets[0]
        for offset in offsets[1:]:
            total = self.builder.add(total, offset)
        return self.builder.gep(array.data, [total])

    def load(self, which: int, *offsets: Any) -> Any:
        value = self.builder.load(self.builder.bitcast(self.place(which, *offsets), self.vector.as_pointer()))
        value.align = self.bytes
        return value

    def store(self, value: Any, which: int, *offsets: Any) -> None:
        pointer = self.builder.bitcast(self.place(which, *offsets), self.vector.as_pointer())
        self.builder.store(value, pointer).align = self.bytes

    def accumulate(self, left: Any, right: Any, slot: Any) -> None:
        self.builder.store(self.builder.call(self.fused, [left, right, self.builder.load(slot)]), slot)

    def spread(self, number: Any) -> Any:
        """A vector of one number."""
        single = self.builder.insert_element(self.zero, number, ir.IntType(32)(0))
        return self.shuffled(single, single, [0] * self.lanes)

    def shuffled(self, one: Any, other: Any, lanes: list[int]) -> Any:
        kind = ir.VectorType(ir.IntType(32), len(lanes))
        return self.builder.shuffle_vector(one, other, ir.Constant(kind, lanes))

    def sums_of(self, vectors: list[Any]) -> Any:
        """The sums of as many vectors as one has lanes, as one: neighbours are put together and added up."""
        apart = 1
        while len(vectors) > 1:
            blocks = range(0, self.lanes, 2 * apart)
            low = [block + side + lane for block in blocks for side in (0, self.lanes) for lane in range(apart)]
            high = [lane + apart for lane in low]
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            vectors = [self.builder.fadd(self.shuffled(*pair, low), self.shuffled(*pair, high)) for pair in pairs]
            apart *= 2
        return vectors[0]


def _sums(lines: int, vectors: int, lanes: int | None = None) -> Any:
    """``out[at + i * stride + p] += sum of weights[first + i * line + k * column] * rows[start + k * step + p]``.

    For i < lines, k < depth, and p of as many vectors of so many lanes; places in flat arrays.
    """

    @intrinsic
    def add(typingctx, out, at, stride, rows, start, step, weights, first, line, column, depth):
        def codegen(context, builder, signature, arguments):
            tools = _Tools(context, builder, signature, arguments, lanes)
            _, at, stride, _, start, step, _, first, line, column, depth = arguments
            across = [tools.index(j * tools.lanes) for j in range(vectors)]
            down = [builder.mul(stride, tools.index(i)) for i in range(lines)]
            sums = [
                [cgutils.alloca_once_value(builder, tools.load(0, at, below, beside)) for beside in across]
                for below in down
            ]
            with cgutils.for_range(builder, depth) as loop:
                row, along = builder.mul(step, loop.index), builder.mul(column, loop.index)
                values = [tools.load(3, start, row, beside) for beside in across]
                for i, slots in enumerate(sums):
                    weight = builder.load(tools.place(6, first, builder.mul(line, tools.index(i)), along))
                    for value, slot in zip(values, slots, strict=True):
                        tools.accumulate(tools.spread(weight), value, slot)
            for below, slots in zip(down, sums, strict=True):
                for beside, slot in zip(across, slots, strict=True):
                    tools.store(builder.load(slot), 0, at, below, beside)
            return context.get_dummy_value()

        return types.void(out, *[types.intp] * 2, rows, *[types.intp] * 2, weights, *[types.intp] * 4), codegen

    return add


def _crossing() -> Any:
    """``sums[first + i * line + j] += left[at + i * stride + p] * right[start + j * step + p]``, summed over p.

    For i, j < 4, and p of so many whole vectors.
    """

    @intrinsic
    def cross(typingctx, left, at, stride, right, start, step, sums, first, line, vectors):
        def codegen(context, builder, signature, arguments):
            tools, four = (_Tools(context, builder, signature, arguments, lanes) for lanes in (None, ROWS))
            _, at, stride, _, start, step, _, first, line, vectors = arguments
            slots = [cgutils.alloca_once_value(builder, tools.zero) for _ in range(ROWS * ROWS)]
            with cgutils.for_range(builder, vectors) as loop:
                along = builder.mul(loop.index, tools.index(tools.lanes))
                lefts, rights = (
                    [tools.load(which, first, along, builder.mul(apart, tools.index(i))) for i in range(ROWS)]
                    for which, first, apart in ((0, at, stride), (3, start, step))
                )
                for i, slot in enumerate(slots):
                    tools.accumulate(lefts[i // ROWS], rights[i % ROWS], slot)
            totals = [builder.load(slot) for slot in slots]
            together = [tools.sums_of(totals[n : n + tools.lanes]) for n in range(0, len(totals), tools.lanes)]
            for i in range(ROWS):
                of, lane = divmod(i * ROWS, tools.lanes)
                own = tools.shuffled(together[of], together[of], list(range(lane, lane + ROWS)))
                place = first, builder.mul(line, tools.index(i))
                four.store(builder.fadd(four.load(6, *place), own), 6, *place)
            return context.get_dummy_value()

        return types.void(left, *[types.intp] * 2, right, *[types.intp] * 2, sums, *[types.intp] * 3), codegen

    return cross


_block, _column, _ends = _sums(ROWS, ROWS), _sums(ROWS, 1), _sums(ROWS, 1, 1)
_vector, _end = _sums(1, 1), _sums(1, 1, 1)
_cross = _crossing()


def _fetching() -> Any:
    """Have a number of a flat array brought to the fastest cache; places outside are harmless."""

    @intrinsic
    def fetch(typingctx, array, place):
        def codegen(context, builder, signature, arguments):
            tools = _Tools(context, builder, signature, arguments)
            byte, short = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, short, short, short])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            pointer = builder.bitcast(tools.place(0, arguments[1]), byte)
            builder.call(function, [pointer, short(0), short(3), short(1)])  # to read, to keep, data
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    return fetch


fetch = _fetching()


def _squashing() -> Any:
    """``values = sigmoid(values)`` for as many numbers as fit four vectors, from a place of a flat array on; float32.

    With torch's exactness: ``exp(-z) = 2 ** whole * exp(-rest)``. What is not a number remains so.
    """
    log2, high, low = 1.44269504, 0.693359375, -2.12194440e-4  # the last two together: the logarithm of 2
    series = -1.9875691500e-4, 1.3981999507e-3, -8.3334519073e-3, 4.1665795894e-2, -1.6666665459e-1, 5.0000001201e-1

    @intrinsic
    def squash_four(typingctx, array, place):
        def codegen(context, builder, signature, arguments):
            tools = _Tools(context, builder, signature, arguments)
            if tools.bytes != 4:  # never called, but compiled
                return context.get_dummy_value()
            whole_numbers = ir.VectorType(ir.IntType(32), tools.lanes)

            def number(value: float) -> Any:
                return ir.Constant(tools.vector, [value] * tools.lanes)

            def whole(value: int) -> Any:
                return ir.Constant(whole_numbers, [value] * tools.lanes)

            def fused(left: Any, right: Any, more: Any) -> Any:
                return builder.call(tools.fused, [left, right, more])

            def clamped(z: Any) -> Any:
                z = builder.select(builder.fcmp_ordered("<", number(87), z), number(87), z)
                return builder.select(builder.fcmp_ordered(">", number(-87), z), number(-87), z)

            places = [tools.index(n * tools.lanes) for n in range(ROWS)]
            zs = [clamped(tools.load(0, arguments[1], beside)) for beside in places]
            shifted = [builder.fptosi(fused(z, number(-log2), number(128.5)), whole_numbers) for z in zs]
            powers = [
                builder.bitcast(builder.shl(builder.sub(each, whole(1)), whole(23)), tools.vector) for each in shifted
            ]
            wholes = [builder.fsub(builder.sitofp(each, tools.vector), number(128)) for each in shifted]
            rests = [fused(each, number(high), z) for each, z in zip(wholes, zs, strict=True)]
            rests = [fused(each, number(low), rest) for each, rest in zip(wholes, rests, strict=True)]
            sums = [number(series[0])] * ROWS
            for term in series[1:]:
                sums = [fused(each, rest, number(term)) for each, rest in zip(sums, rests, strict=True)]
            for each, rest, power, beside in zip(sums, rests, powers, places, strict=True):
                square = builder.fmul(rest, rest)
                exponential = builder.fadd(builder.fsub(builder.fmul(each, square), rest), number(1))
                opened = builder.fdiv(number(1), fused(exponential, power, number(1)))
                tools.store(opened, 0, arguments[1], beside)
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    return squash_four


squash_four = _squashing()


@piece()
def add_product(weights, line, column, turned, rows, first, start, out, target, begin, lines, depth, size):
    """``out[target + i, begin + p] += sum of weights[line + i, column + k] * rows[first + k, start + p]``.

    For i < lines, k < depth, p < size; contiguous matrices.

    Args:
        turned: whether it is ``weights[column + k, line + i]``.
    """
    lanes = _BYTES // out.itemsize
    stride, step, width = out.shape[1], rows.shape[1], weights.shape[1]
    by_line, by_column = (1, width) if turned else (width, 1)
    i = 0
    while i < lines:
        together = ROWS if i + ROWS <= lines else 1
        weight = (line + i) * by_line + column * by_column
        p = 0
        while p < size:
            at, source = (target + i) * stride + begin + p, first * step + start + p
            if together == ROWS and p + ROWS * lanes <= size:
                _block(out, at, stride, rows, source, step, weights, weight, by_line, by_column, depth)
                p += ROWS * lanes
            elif p + lanes <= size:
                if together == ROWS:
                    _column(out, at, stride, rows, source, step, weights, weight, by_line, by_column, depth)
                else:
                    _vector(out, at, stride, rows, source, step, weights, weight, by_line, by_column, depth)
                p += lanes
            else:
                if together == ROWS:
                    _ends(out, at, stride, rows, source, step, weights, weight, by_line, by_column, depth)
                else:
                    _end(out, at, stride, rows, source, step, weights, weight, by_line, by_column, depth)
                p += 1
        i += together


@piece()
def add_products_of_rows(left, first, begin, lefts, right, line, start, rights, size, sums, by, column):
    """``sums[by + i, column + j] += sum over p of left[first + i, begin + p] * right[line + j, start + p]``.

    For i < lefts, j < rights, p < size; contiguous matrices. Up to multiples of 4 there must be more rows, of
    whatever; up to whole vectors more numbers, zeros.
    """
    vectors = -(-size // (_BYTES // left.itemsize))
    stride, step, width = left.shape[1], right.shape[1], sums.shape[1]
    for i in range(0, lefts, ROWS):
        for j in range(0, rights, ROWS):
            at, beside = (first + i) * stride + begin, (line + j) * step + start
            if i + ROWS <= lefts and j + ROWS <= rights:
                _cross(left, at, stride, right, beside, step, sums, (by + i) * width + column + j, width, vectors)
            else:
                block = np.zeros((ROWS, ROWS), sums.dtype)
                _cross(left, at, stride, right, beside, step, block, 0, ROWS, vectors)
                for m in range(min(ROWS, lefts - i)):
                    for n in range(min(ROWS, rights - j)):
                        sums[by + i + m, column + j + n] += block[m, n]
