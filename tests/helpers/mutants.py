"""Damaged copies of a file: each number another damage, always the same one."""

import random

BLOCK = 64  # bytes, at most


def truncated(content, draw):
    return content[: draw.randrange(len(content))]


def emptied(content, draw):
    return b""


def one_bit(content, draw):
    return flip(content, draw.randrange(8 * len(content)))


def one_bit_of_the_front(content, draw):
    return flip(content, draw.randrange(8 * min(len(content), 400)))


def many_bits(content, draw):
    for _ in range(draw.randrange(2, 20)):
        content = one_bit(content, draw)
    return content


def zeros(content, draw):
    start, stop = block(content, draw)
    return content[:start] + bytes(stop - start) + content[stop:]


def noise(content, draw):
    start, stop = block(content, draw)
    return content[:start] + draw.randbytes(stop - start) + content[stop:]


def noise_in_front(content, draw):
    start, stop = block(content[:400], draw)
    return content[:start] + draw.randbytes(stop - start) + content[stop:]


def cut_out(content, draw):
    start, stop = block(content, draw)
    return content[:start] + content[stop:]


def repeated(content, draw):
    start, stop = block(content, draw)
    return content[:stop] + content[start:]


def inserted(content, draw):
    start, stop = block(content, draw)
    return content[:start] + draw.randbytes(stop - start) + content[start:]


def extended(content, draw):
    return content + draw.randbytes(draw.randrange(1, BLOCK))


def largest_numbers(content, draw):
    """Put the largest number where a size may stand."""
    start = draw.randrange(0, max(1, min(len(content), 400) - 4), 2)
    return content[:start] + draw.choice([b"\xff\xff\xff\x7f", b"\xff\x7f", b"\xff\xff\xff\xff"]) + content[start + 4 :]


def another_digit(content, draw):
    """Change a digit of a number that is written as text."""
    places = [at for at in range(min(len(content), 20_000)) if 48 <= content[at] <= 57]
    if not places:
        return one_bit(content, draw)
    at = draw.choice(places)
    return content[:at] + draw.choice(b"0123456789-e.,nN \n\\").to_bytes(1, "big") + content[at + 1 :]


KINDS = (
    truncated,
    one_bit,
    one_bit_of_the_front,
    zeros,
    another_digit,
    noise_in_front,
    cut_out,
    largest_numbers,
    repeated,
    inserted,
    many_bits,
    extended,
    noise,
    emptied,
)
LENGTH_CHANGES = {"truncated", "emptied", "cut_out", "repeated", "inserted", "extended"}


def mutate(content, number):
    """Return the name of the damage of this number, and the damaged content."""
    draw = random.Random(number)  # noqa: S311
    kind = KINDS[number % len(KINDS)]
    for _ in range(20):  # some damages can leave a file as it was
        found = kind(content, draw)
        if found != content:
            return kind.__name__, found
    return truncated.__name__, truncated(content, draw)


def flip(content, bit):
    found = bytearray(content)
    found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def block(content, draw):
    """Return start and stop of a part of some bytes."""
    start = draw.randrange(len(content))
    return start, min(len(content), start + draw.randrange(1, BLOCK))
