"""Mutations of the bytes of a real small file: flipped bits, cut, zeroed, doubled and foreign parts, odd numbers."""

from __future__ import annotations

import random
import re

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_ODD_NUMBERS = (
    *(b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e308", b"1e-320", b"99999999999999999999", b"2147483648"),
    *(b"", b"x", b"0x10", b"1_0", b"0.5", b"65536", b"-0", b"1e5", b"\xd9\xa3"),
)
_ODD_TEXTS = (b"\x00", b"\n", b"%s%n", b"../", b"/etc/passwd", b"\xff\xfe", b"{", b'"', b"= ", b": ", b"\xed\xa0\x80")


def mutate(content: bytes, source: random.Random, *, end: int | None = None) -> bytes:
    """One to three mutations, the parts that they change starting before `end`."""
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        content = source.choice(_MUTATIONS)(content, source, min(end or len(content), len(content)))
    return content


def _flip(content: bytes, source: random.Random, end: int) -> bytes:
    changed = bytearray(content)
    for _ in range(source.choice((1, 1, 2, 8)) if end else 0):
        changed[source.randrange(end)] ^= 1 << source.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, source: random.Random, end: int) -> bytes:
    start = source.randrange(end + 1)
    length = min(source.choice((1, 2, 4, 8, 64)), len(content) - start)
    value = source.choice((b"\x00", b"\xff", b"\x7f", b"\x80")) * length
    return (
        content[:start] + (source.randbytes(length) if source.random() < 0.3 else value) + content[start + length :]
    )


def _cut(content: bytes, source: random.Random, end: int) -> bytes:
    return content[: source.randrange(len(content) + 1)]


def _delete(content: bytes, source: random.Random, end: int) -> bytes:
    start = source.randrange(end + 1)
    return content[:start] + content[start + source.choice((1, 2, 16)) :]


def _double(content: bytes, source: random.Random, end: int) -> bytes:
    start = source.randrange(end + 1)
    part = content[start : start + source.choice((1, 4, 40))]
    return content[:start] + part + content[start:]


def _append(content: bytes, source: random.Random, end: int) -> bytes:
    return content + source.choice((b"\x00" * 9, source.randbytes(5), content))


def _insert_text(content: bytes, source: random.Random, end: int) -> bytes:
    start = source.randrange(end + 1)
    return content[:start] + source.choice(_ODD_TEXTS) + content[start:]


def _change_number(content: bytes, source: random.Random, end: int) -> bytes:
    numbers = list(_NUMBER.finditer(content[:end]))
    if not numbers:
        return _flip(content, source, end)
    number = source.choice(numbers)
    return content[: number.start()] + source.choice(_ODD_NUMBERS) + content[number.end() :]


_MUTATIONS = (_flip, _overwrite, _cut, _delete, _double, _append, _insert_text, _change_number, _change_number)
