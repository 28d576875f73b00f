"""Making MIDI files for the tests: by hand, at random, and by damaging others."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence

END_OF_TRACK = b"\x00\xff\x2f\x00"


def midi_file(
    tracks: Sequence[bytes], *, division: int = 480, kind: int = 1, count: int | None = None
) -> bytes:
    """A file of track contents; ``count`` is what the header promises."""
    head = struct.pack(
        ">4sIHHh", b"MThd", 6, kind, len(tracks) if count is None else count, division
    )
    return head + b"".join(chunk(b"MTrk", track) for track in tracks)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack(">I", len(content)) + content


def rmid(midi: bytes) -> bytes:
    """The file in a RIFF container, between chunks that mean nothing to a reader."""

    def riff(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    body = b"RMID" + riff(b"DISP", b"odd") + riff(b"data", midi) + riff(b"LIST", b"INFO")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def variable(value: int, *, padding: int = 0) -> bytes:
    """A variable-length quantity, with needless leading bytes if wanted."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(value & 0x7F | 0x80)
    return bytes([0x80] * padding + out[::-1])


def random_file(rng: random.Random) -> bytes:
    """A readable file of arbitrary events, dense in clashes: few keys, few ticks, all statuses."""
    tracks = []
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 7))):
        out, running = bytearray(), -1
        plain = rng.random() < 0.5  # mostly notes and controllers, as real files
        for _ in range(rng.choice((0, 1, 5, 40, 300))):
            delta = rng.choice((0, 0, 0, 0, 1, 1, 2, 127, 128, 16_500, 2_100_000))
            out += variable(delta, padding=rng.choice((0,) * 40 + (1, 4, 9)))
            channel = rng.choice((0, 0, 0, 1, 9))
            roll = rng.random()
            if roll < (0.95 if plain else 0.6):
                kind = rng.choice((0x90, 0x90, 0x90, 0x80, 0xB0))
                first = rng.choice((60, 61)) if kind < 0xB0 else rng.choice((64, 64, 1, 67))
                data = bytes((first, rng.choice((0, 0, 64, 63, 127))))
            elif roll < 0.75:
                kind = rng.choice((0xA0, 0xC0, 0xD0, 0xE0))
                data = bytes(rng.randrange(128) for _ in range(1 if kind in (0xC0, 0xD0) else 2))
            elif roll < 0.9:
                kind = rng.choice((0x01, 0x02, 0x03, 0x05, 0x20, 0x21, 0x2F, 0x58, 0x59, 0x7F))
                size = {0x20: 1, 0x21: 1, 0x2F: 0, 0x58: 4, 0x59: 2}.get(kind, rng.randrange(5))
                content = bytes(rng.randrange(128) for _ in range(size))
                content = {0x58: b"\4\2\x18\x08", 0x59: b"\xfd\1"}.get(kind, content)
                out += bytes((0xFF, kind)) + variable(size, padding=rng.choice((0, 0, 2))) + content
                continue
            elif roll < 0.95:
                out += b"\xff\x51\x03" + rng.randrange(2**24).to_bytes(3, "big")
                continue
            else:
                # System-exclusive, escaped, and short system messages.
                out += rng.choice(
                    (b"\xf0\x03\x43\x12\xf7", b"\xf7\x01\x10", b"\xf2\x01\x02", b"\xf1\x05\x00\xf6")
                )
                running = -1
                continue
            status = kind | channel
            if status != running or rng.random() < 0.3:
                out.append(status)
            out += data
            running = status
        tracks.append(bytes(out))
    return midi_file(tracks, division=rng.choice((96, 480, -25 * 256 + 40)), kind=rng.randrange(3))


_FRAGMENTS = (
    b"\x00\xd0\x11",
    b"\x00\xff\x01\x02ab",
    b"\x00\xff\x51\x03\x01\x02\x03",
    b"\x00\xff\x51\x02\x01\x02",
    b"\x85\x00",
    b"\xff\xff\xff\xff\x7f",
    b"\x00\xf0\x02\x90\xf7",
    b"\x00\xc5\x10",
    b"\x00\x3c\x00",
    b"\x00\xff\x59\x02\x20\x05",
)
_BYTES = (0x00, 0x7F, 0x80, 0xFF, 0x90, 0xB0, 0xC0, 0xD0, 0xF0, 0xF7, 0xF1, 0xF4, 0xF8, 0x2F, 0x51)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with a few bits flipped, bytes changed, inserted, dropped or repeated."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not out:
            break
        at = rng.randrange(len(out) if rng.random() < 0.7 else min(len(out), 60))
        what = rng.randrange(8)
        if what == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            out[at] = rng.choice(_BYTES)
        elif what == 2:
            del out[at : at + rng.choice((1, 1, 3, 50))]
        elif what == 3:
            out[at:at] = rng.randbytes(rng.choice((1, 3, 4)))
        elif what == 4:
            out[at:at] = out[at : at + rng.choice((3, 4, 8, 100))]
        elif what == 5:
            out[at:at] = rng.choice(_FRAGMENTS)
        elif what == 6 and rng.random() < 0.2:
            del out[at:]
        elif what == 7:  # a length field
            at = out.rfind(b"MTrk", 0, at)
            if at >= 0 and rng.random() < 0.3:
                out[at + 4 : at + 8] = struct.pack(">I", rng.choice((0, 1, 10**8, 2**32 - 1)))
    at = out.rfind(b"MTrk")
    if 0 <= at <= len(out) - 8 and rng.random() < 0.8:  # so that more than the lengths is tested
        out[at + 4 : at + 8] = struct.pack(">I", len(out) - at - 8)
    return bytes(out)


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Files made to hurt: what they are called, and their bytes."""
    note = b"\x00\x90\x3c\x40\x60\x80\x3c\x00"
    yield "no bytes", b""
    yield "text", b"Dear player,\nplease find the music attached.\n" * 40
    yield "a header and nothing else", midi_file([], count=1)
    yield (
        "a hundred megabytes claimed by a track",
        midi_file([note])[:-12] + (struct.pack(">I", 100_000_000) + note),
    )
    yield (
        "a hundred megabytes claimed by a text",
        midi_file([b"\x00\xff\x01" + variable(10**8) + b"a"]),
    )
    yield (
        "a hundred megabytes claimed by the header",
        b"MThd" + struct.pack(">IHHH", 10**8, 0, 1, 480),
    )
    yield "65535 tracks claimed", midi_file([note], count=65_535)
    yield "65535 tracks", midi_file([note] * 65_535)
    yield "65535 empty tracks", midi_file([b""] * 65_535)
    yield "a length of two million bytes", midi_file([b"\x00\xff\x01" + b"\xff" * 2_000_000])
    yield "a delta time of two million bytes", midi_file([b"\xff" * 2_000_000 + b"\x00"])
    yield "the longest delta times", midi_file([(b"\xff\xff\xff\x7f" + note[1:]) * 100_000])
    yield (
        "a million notes",
        midi_file(
            [b"".join(b"\0\x90%c\x40\5\x80%c\0" % (i % 128, i % 128) for i in range(1_000_000))]
        ),
    )
    yield (
        "a million notes on one key, one end",
        midi_file([b"\x00\x90\x3c\x40" * 1_000_000 + b"\x01\x80\x3c\x00"]),
    )
    yield (
        "half a million notes that end in reverse",
        midi_file(
            [
                b"".join(b"\0\x90%c\x40" % (i % 128) for i in range(500_000))
                + b"".join(b"\1\x90%c\0" % i for i in range(127, -1, -1))
            ]
        ),
    )
    yield (
        "a million notes of no length",
        midi_file([b"\0\x90\x3c\x40" + b"\0\x3c\0\0\x3c\x40" * 10**6]),
    )
    yield (
        "pressure between all notes",
        midi_file([b"".join(b"\0\x90%c\x40\0\xd0\1" % (i % 128) for i in range(200_000))]),
    )
    yield "half a million tempos", midi_file([b"\1\xff\x51\3\1\2\3" * 500_000])
    yield "half a million texts", midi_file([b"\1\xff\1\1a" * 500_000])
    yield "tempo zero", midi_file([b"\0\xff\x51\3\0\0\0" + note])
    yield "no notes", midi_file([END_OF_TRACK])
    yield "drums only", midi_file([b"\x00\x99\x24\x40\x60\x89\x24\x00" * 50])
    yield "format 2", midi_file([note, note], kind=2)
    yield "format 77", midi_file([note], kind=77)
    yield "SMPTE", midi_file([note], division=-30 * 256 + 80)
    yield "SMPTE without ticks", midi_file([note], division=-30 * 256)
    yield "no division", midi_file([note], division=0)
    yield "RMID", rmid(midi_file([note]))
    yield "RMID without data", b"RIFF\x10\0\0\0RMIDDISP\4\0\0\0abcd"
    yield "RMID that claims too much", rmid(midi_file([note]))[:20] + b"data\xff\xff\xff\xff"
