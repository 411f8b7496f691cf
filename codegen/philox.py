"""Philox4x32-10 in LLVM: the random words that `ir.philox` defines, on lanes of counters.

A 32-bit word lies in the low half of an i64 lane while it is worked on, so that a product of two words is
one multiplication (pmuludq on x86-64).

Imports: `ir.philox` (the constants), `text`, `ir.types`.
"""

from __future__ import annotations

from ..ir.philox import MULTIPLIERS, ROUNDS, WEYL, WORDS
from ..ir.types import i32
from .text import Lanes, Vec

_LOW = 0xFFFFFFFF


def philox_words(m: Lanes, key: Vec, counter: Vec) -> tuple[Vec, Vec, Vec, Vec]:
    """The four i32 words of each counter (i64 lanes, the low half of the 128 bits) for the i64 lanes `key`."""
    x0, x1 = m.and_(counter, _LOW), m.lshr(counter, 32)
    x2 = x3 = m.const(0, counter.dtype)
    k0, k1 = m.and_(key, _LOW), m.lshr(key, 32)
    for i in range(ROUNDS):
        if i:
            k0, k1 = (m.and_(m.add(k, w), _LOW) for k, w in zip((k0, k1), WEYL, strict=True))
        p0, p1 = m.mul(x0, MULTIPLIERS[0]), m.mul(x2, MULTIPLIERS[1])
        x0, x2 = m.xor(m.xor(m.lshr(p1, 32), x1), k0), m.xor(m.xor(m.lshr(p0, 32), x3), k1)
        x1, x3 = m.and_(p1, _LOW), m.and_(p0, _LOW)
    w0, w1, w2, w3 = (m.convert("trunc", x, i32) for x in (x0, x1, x2, x3))
    return w0, w1, w2, w3


def philox_elements(m: Lanes, key: Vec, offset: Vec, index: Vec) -> Vec:
    """The i32 word of each element: word `index % 4` of counter `offset + index // 4` (all i64 lanes)."""
    words = philox_words(m, key, m.add(offset, m.lshr(index, 2)))
    which = m.and_(index, WORDS - 1)
    result = words[0]
    for i in range(1, WORDS):
        result = m.select(m.compare("eq", which, i), words[i], result)
    return result


def philox_run(m: Lanes, key: Vec, offset: Vec, first: Vec) -> Vec:
    """The words of `m.width` adjacent elements from `first` on, for the i64 scalars key, offset and first.

    `first` and the width are multiples of 4: each counter is worked out once, not once an element.
    """
    if m.width % WORDS:
        raise ValueError(f"a run of random words needs a multiple of {WORDS} lanes, got {m.width}")
    narrow, scalar = Lanes(m.code, m.width // WORDS), Lanes(m.code, 1)
    start = scalar.add(offset, scalar.lshr(first, 2))
    steps = "0" if narrow.width == 1 else f"<{', '.join(f'i64 {i}' for i in range(narrow.width))}>"
    counter = narrow.add(narrow.splat(start), Vec(steps, start.dtype))
    words = philox_words(narrow, narrow.splat(key), counter)
    if narrow.width == 1:
        result = Vec("poison", i32)
        for i, word in enumerate(words):
            result = m.insert(result, word, i)
        return result
    return _interleave(m, narrow, words)


def _interleave(m: Lanes, narrow: Lanes, words: tuple[Vec, ...]) -> Vec:
    """Lane 4 i + j of the result is lane i of words[j]."""
    n, part = narrow.width, narrow.type(i32)
    half = Lanes(m.code, 2 * n)
    ends = ", ".join(f"i32 {i}" for i in range(2 * n))
    join = f"shufflevector {part} {{}}, {part} {{}}, <{2 * n} x i32> <{ends}>"
    low = half.emit(join.format(words[0].text, words[1].text), i32)
    high = half.emit(join.format(words[2].text, words[3].text), i32)
    order = ", ".join(f"i32 {j * n + i}" for i in range(n) for j in range(WORDS))
    pair = half.type(i32)
    return m.emit(f"shufflevector {pair} {low.text}, {pair} {high.text}, <{4 * n} x i32> <{order}>", i32)
