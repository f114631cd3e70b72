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


def is_neutral(point: list[int]) -> bool:
    """Whether a point is the one that adds nothing."""
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


BASE = decoded_point(bytes([0x58]) + bytes([0x66]) * 31) or NEUTRAL


def signature_holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature is of a message, by a public key.

    Strict: S is below the order, points are in their one form, and a key of small order, under
    which any signature might hold, is none.
    """
    key, point = decoded_point(public[:32]), decoded_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if (len(public), len(signature)) != (32, 64) or s >= ORDER or not key or not point:
        return False
    hashed = hashlib.sha512(signature[:32] + public + message).digest()
    factor = int.from_bytes(hashed, "little") % ORDER
    minus = [[P - one[0], one[1], 1, P - one[3]] for one in (key, point)]
    left = multiples((s, BASE), (factor, minus[0]), (1, minus[1]))
    return is_neutral(left) and not is_neutral(multiples((8, key)))
