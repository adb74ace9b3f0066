"""How many colours a PNG of 8 bits has, and how much of it is not of the commonest one, in percent."""

import collections
import struct
import sys
import zlib

data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
at, packed = 8, b""
while at < len(data):
    length, kind = struct.unpack(">I4s", data[at : at + 8])
    body = data[at + 8 : at + 8 + length]
    if kind == b"IHDR":
        width, height, depth, colour = struct.unpack(">IIBB", body[:10])
    if kind == b"IDAT":
        packed += body
    at += 12 + length
assert depth == 8 and colour in (2, 6)
size = {2: 3, 6: 4}[colour]
raw, stride = zlib.decompress(packed), width * size
before, counts = bytearray(stride), collections.Counter()
for y in range(height):
    start = y * (stride + 1)
    filtering, line = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
    for x in range(stride):
        left = line[x - size] if x >= size else 0
        up = before[x]
        corner = before[x - size] if x >= size else 0
        if filtering == 1:
            line[x] = (line[x] + left) & 255
        elif filtering == 2:
            line[x] = (line[x] + up) & 255
        elif filtering == 3:
            line[x] = (line[x] + (left + up) // 2) & 255
        elif filtering == 4:
            guess = left + up - corner
            near = min((left, up, corner), key=lambda it: (abs(guess - it), (left, up, corner).index(it)))
            line[x] = (line[x] + near) & 255
    counts.update(bytes(line[x : x + 3]) for x in range(0, stride, size))
    before = line
print(len(counts), 100 * (1 - counts.most_common(1)[0][1] / (width * height)))
