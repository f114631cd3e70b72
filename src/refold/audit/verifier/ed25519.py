"""Ed25519, RFC 8032 section 5.1, to verify with: nothing here is secret.

A point is X, Y, Z, T, where x = X/Z, y = Y/Z and xy = T/Z.
"""

from __future__ import annotations

import hashlib

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
NEUTRAL = [0, 1, 1, 0]


def decoded_point(data: bytes) -> list[int] | None:
    """The point that 32 bytes stand for; None for bytes of none, or not in their one form."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if (v * x * x - u) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if y >= P or (v * x * x - u) % P or (x == 0 and sign):
        return None
    x = x if x & 1 == sign else P - x
    return [x, y, 1, x * y % P]


def encoded_point(point: list[int]) -> bytes:
    """The 32 bytes of a point."""
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def sum_of(p: list[int], q: list[int]) -> list[int]:
    """The sum of two points, also of a point and itself."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return [e * f % P, g * h % P, f * g % P, e * h % P]


def multiples(*terms: tuple[int, list[int]]) -> list[int]:
    """The sum of points, each added to itself as often as its factor (below 2**256) says."""
    result = NEUTRAL
    for bit in range(255, -1, -1):
        result = sum_of(result, result)
        for factor, point in terms:
            if factor >> bit & 1:
                result = sum_of(result, point)
    return result


BASE = decoded_point(bytes([0x58]) + bytes([0x66]) * 31) or NEUTRAL


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature is of a message, by a public key.

    Strict: S is below the order, points are in their one form, and a key of small order, under
    which any signature might hold, is none.
    """
    key = decoded_point(public) if len(public) == 32 else None
    s = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or s >= ORDER or key is None:
        return False
    if encoded_point(multiples((8, key))) == encoded_point(NEUTRAL):
        return False
    hashed = hashlib.sha512(signature[:32] + public + message).digest()
    minus_key = [P - key[0], key[1], 1, P - key[3]]
    factor = int.from_bytes(hashed, "little") % ORDER
    return encoded_point(multiples((s, BASE), (factor, minus_key))) == signature[:32]
