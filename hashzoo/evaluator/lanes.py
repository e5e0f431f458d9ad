"""A numba type of 512 bits: eight words that are loaded, combined and counted together.

LLVM makes whatever the processor has of them (one AVX-512 register, two of AVX2, four of NEON), and needs no luck in
recognising a loop that could be vectorised. Importing this imports numba. Whoever changes this file clears numba's
cache, which is checked against the file of the compiled function alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

WORDS = 8
WORD = ir.IntType(64)
VECTOR = ir.VectorType(WORD, WORDS)
ZERO = ir.Constant(VECTOR, [0] * WORDS)
BYTES = ir.VectorType(ir.IntType(8), 64)
UNDEFINED = ir.Constant(VECTOR, ir.Undefined)


class LanesType(types.Type):
    """Eight uint64."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


@register_model(LanesType)
class LanesModel(models.PrimitiveModel):
    """Held in a vector register."""

    def __init__(self, manager: Any, lanes_type: Any) -> None:
        super().__init__(manager, lanes_type, VECTOR)


lanes = LanesType()


def _define(function: Callable[..., Any], instruction: str) -> None:
    """Let an operator work word by word."""

    class Template(AbstractTemplate):
        def generic(self, arguments: Any, _keywords: Any) -> Any:
            return signature(lanes, lanes, lanes) if arguments == (lanes, lanes) else None

    def lower(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return getattr(builder, instruction)(*arguments)

    infer_global(function)(Template)
    lower_builtin(function, LanesType, LanesType)(lower)


for _function, _instruction in (
    (operator.and_, "and_"),
    (operator.or_, "or_"),
    (operator.xor, "xor"),
    (operator.add, "add"),
    (operator.iadd, "add"),
    (operator.lshift, "shl"),
    (operator.rshift, "lshr"),
):
    _define(_function, _instruction)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), VECTOR.as_pointer())


def _load(_typing: Any, array: Any, _index: Any) -> Any:
    """The eight words of a 1-D uint64 array that start at an index; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(pointer, align=WORD.width // 8)

    return lanes(array, types.intp), generate


def _store(_typing: Any, array: Any, _index: Any, _value: Any) -> Any:
    """Write eight words to a 1-D uint64 array from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], pointer, align=WORD.width // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


def _splat(_typing: Any, _word: Any) -> Any:
    """One word, eight times."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        first = builder.insert_element(UNDEFINED, arguments[0], ir.Constant(ir.IntType(32), 0))
        return _shuffle(builder, first, UNDEFINED, [0] * WORDS)

    return lanes(types.uint64), generate


def _popcounts(_typing: Any, _words: Any) -> Any:
    """The number of ones of each word."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        count = ir.FunctionType(VECTOR, [VECTOR])
        return builder.call(cgutils.get_or_insert_function(builder.module, count, "llvm.ctpop.v8i64"), arguments)

    return lanes(lanes), generate


def _least(_typing: Any, _a: Any, _b: Any) -> Any:
    """The smaller of two words, word by word."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.select(builder.icmp_unsigned("<", *arguments), *arguments)

    return lanes(lanes, lanes), generate


def _below(_typing: Any, _words: Any, _bound: Any) -> Any:
    """Which words are smaller than those of a bound: bit i is word i's."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        smaller = builder.icmp_unsigned("<", *arguments)
        return builder.zext(builder.bitcast(smaller, ir.IntType(WORDS)), WORD)

    return types.uint64(lanes, lanes), generate


def _any_bit(_typing: Any, _words: Any) -> Any:
    """Whether any bit is 1."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        fold = ir.FunctionType(WORD, [VECTOR])
        name = "llvm.vector.reduce.or.v8i64"
        folded = builder.call(cgutils.get_or_insert_function(builder.module, fold, name), arguments)
        return builder.icmp_unsigned("!=", folded, ir.Constant(WORD, 0))

    return types.boolean(lanes), generate


def _sums(_typing: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """Word i is the sum of all words of argument i, of eight."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        # Three rounds, each of which adds neighbours at a distance and halves the number of vectors.
        for width in (1, 2, 4):
            low = [i // (2 * width) * 2 * width + i % width + (WORDS if i & width else 0) for i in range(WORDS)]
            high = [i + width for i in low]
            arguments = [
                builder.add(_shuffle(builder, a, b, low), _shuffle(builder, a, b, high))
                for a, b in zip(arguments[::2], arguments[1::2], strict=True)
            ]
        return arguments[0]

    return lanes(*[lanes] * WORDS), generate


def _running_sums(_typing: Any, _words: Any) -> Any:
    """Word i is the sum of words 0 to i."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (words,) = arguments
        for width in (1, 2, 4):
            moved = [i if i < width else WORDS + i - width for i in range(WORDS)]
            words = builder.add(words, _shuffle(builder, ZERO, words, moved))
        return words

    return lanes(lanes), generate


def _spread(_typing: Any, numbers: Any, _to: Any, digits: Any, _at: Any, _step: Any, count: Any) -> Any:
    """Binary digits of 64 numbers, word by word, to a byte each; nothing is checked.

    Bit b of digits[at + k * step] is digit k of numbers[to + b]; the count of digits is a literal, at most 8.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, to, planes, at, step, _ = arguments
        ones, found = ir.VectorType(ir.IntType(1), 64), ir.Constant(BYTES, [0] * 64)
        first = make_array(signature.args[2])(context, builder, planes).data
        for k in range(signature.args[5].literal_value):
            word = builder.load(builder.gep(first, [builder.add(at, builder.mul(step, ir.Constant(step.type, k)))]))
            more = builder.add(found, ir.Constant(BYTES, [1 << k] * 64))
            found = builder.select(builder.bitcast(word, ones), more, found)
        place = builder.gep(make_array(signature.args[0])(context, builder, array).data, [to])
        builder.store(found, builder.bitcast(place, BYTES.as_pointer()), align=1)
        return context.get_dummy_value()

    if not isinstance(count, types.IntegerLiteral):
        return None
    return types.void(numbers, types.intp, digits, types.intp, types.intp, count), generate


def _evens(_typing: Any, _a: Any, _b: Any) -> Any:
    """Every other word of sixteen, from the first on."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return _shuffle(builder, a, b, list(range(0, 2 * WORDS, 2)))

    return lanes(lanes, lanes), generate


def _odds(_typing: Any, _a: Any, _b: Any) -> Any:
    """Every other word of sixteen, from the second on."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return _shuffle(builder, a, b, list(range(1, 2 * WORDS, 2)))

    return lanes(lanes, lanes), generate


def _shuffle(builder: Any, a: Any, b: Any, words: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), WORDS), words))


load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
splat: Any = intrinsic(_splat)
popcounts: Any = intrinsic(_popcounts)
least: Any = intrinsic(_least)
below: Any = intrinsic(_below)
any_bit: Any = intrinsic(_any_bit)
sums: Any = intrinsic(_sums)
running_sums: Any = intrinsic(_running_sums)
spread: Any = intrinsic(prefer_literal=True)(_spread)
evens: Any = intrinsic(_evens)
odds: Any = intrinsic(_odds)
