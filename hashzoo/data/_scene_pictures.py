"""Pictures of drawn scenes, in whole numbers only, so that every machine draws the same pixels.

Shapes are masks over integer coordinates and colours are mixed in integers. Nothing is left to an
imaging library, whose line and ellipse rules differ between versions. A picture is drawn at twice
its size and halved by averaging 2 x 2 pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from hashzoo.data._scene_world import Dice, Scene, Thing

UNIT = 1024  # the side of a picture in scene coordinates; (0, 0) is the top left corner
BOX = 64  # a shape is defined on -64..64 in both directions, v downwards

Colour = tuple[int, int, int]
Shape = Callable[[np.ndarray, np.ndarray], Iterator[tuple[str, np.ndarray]]]

PAINT: dict[str, Colour] = {
    "red": (214, 48, 44),
    "orange": (240, 134, 32),
    "yellow": (246, 208, 52),
    "green": (62, 158, 70),
    "blue": (52, 104, 208),
    "purple": (138, 72, 180),
    "pink": (242, 140, 178),
    "white": (244, 244, 238),
    "dark": (48, 44, 52),
    "brown": (122, 78, 44),
    "roof": (150, 66, 52),
    "leaf": (70, 132, 56),
    "cream": (238, 226, 200),
    "glass": (196, 226, 240),
    "flame": (252, 176, 40),
}
# Sky above, sky at the horizon, ground.
LAND: dict[str, tuple[Colour, Colour, Colour]] = {
    "sea": ((120, 190, 240), (205, 232, 250), (36, 108, 174)),
    "meadow": ((124, 194, 244), (214, 238, 252), (122, 188, 88)),
    "city": ((150, 190, 224), (226, 226, 228), (112, 112, 118)),
    "desert": ((240, 184, 112), (252, 230, 184), (222, 180, 112)),
    "snow": ((146, 174, 208), (190, 208, 228), (240, 246, 250)),
    "mountains": ((110, 170, 230), (206, 228, 246), (104, 146, 92)),
}
PAPERS: tuple[Colour, ...] = ((240, 232, 214), (222, 234, 222), (230, 222, 236), (216, 228, 238), (236, 220, 214))
STANDING = ("car", "flower", "house", "mushroom", "tree")  # placed low; boat and fish in the middle
FLYING = ("balloon", "butterfly", "kite", "rocket", "umbrella")


def draw(scene: Scene, dice: Dice, difficulty: int, pixels: int) -> np.ndarray:
    """The picture of a scene as a (pixels, pixels, 3) uint8 array; `difficulty` is in percent."""
    canvas = _Canvas(2 * pixels, scene.night)
    if scene.place:
        _landscape(canvas, scene, dice, difficulty)
    else:
        canvas.pixels[:] = _jitter(dice.pick(PAPERS), 6 + difficulty // 6, dice)
    _things(canvas, scene.things, dice, difficulty)
    if "clouds" in scene.sky:
        _clouds(canvas, dice, difficulty)
    pairs = canvas.pixels[0::2].astype(np.int16) + canvas.pixels[1::2]
    picture = (pairs[:, 0::2] + pairs[:, 1::2] + 2) >> 2
    noise = difficulty * 28 // 100
    if noise:
        grain = dice.raw((picture.size + 7) // 8).astype("<u8").view(np.uint8)[: picture.size]
        picture += (grain % (2 * noise + 1)).astype(np.int16).reshape(picture.shape) - noise
    return picture.clip(0, 255).astype(np.uint8)


class _Canvas:
    """Pixels, their scene coordinates x (1, side) and y (side, 1), and the light of the hour."""

    def __init__(self, side: int, night: bool):
        self.side = side
        self.night = night
        self.pixels = np.empty((side, side, 3), np.uint8)
        self.x = np.arange(side)[None, :] * UNIT // side
        self.y = self.x.T

    def tone(self, colour: Colour) -> Colour:
        """A background colour as it looks at this hour."""
        red, green, blue = colour
        return (red * 5 // 16, green * 5 // 16, blue * 7 // 16 + 16) if self.night else colour

    def stamp(self, centre: tuple[int, int], half: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pixels around a box (a view) and their coordinates u, v, in which the box is -64..64."""
        spans, grids = [], []
        for middle, extent in zip(centre, half, strict=True):
            middle, extent = middle * self.side // UNIT, max(1, extent * self.side // UNIT)
            low, high = max(0, middle - extent - 2), min(self.side, middle + extent + 3)
            spans.append(slice(low, max(low, high)))
            grids.append((np.arange(self.side)[spans[-1]] - middle) * BOX // extent)
        return self.pixels[spans[1], spans[0]], grids[0][None, :], grids[1][:, None]

    def disc(self, x: int, y: int, rx: int, ry: int, colour: Colour) -> None:
        view, u, v = self.stamp((x, y), (rx, ry))
        view[_disc(u, v, 0, 0, BOX, BOX)] = colour


def _landscape(canvas: _Canvas, scene: Scene, dice: Dice, difficulty: int) -> None:
    top, low, ground = (canvas.tone(_jitter(colour, 6 + difficulty // 5, dice)) for colour in LAND[scene.place])
    horizon = dice.between(560, 680)
    share = np.minimum(canvas.y, horizon)[:, :, None]
    canvas.pixels[:] = (np.array(top) * (horizon - share) + np.array(low) * share) // horizon
    if canvas.night:
        for _ in range(14):
            size = dice.between(6, 10)
            canvas.disc(dice.below(UNIT), dice.below(horizon), size, size, (236, 236, 214))
        canvas.disc(dice.between(120, 900), dice.between(100, 220), 70, 70, (244, 240, 210))
    if "sun" in scene.sky:
        canvas.disc(dice.between(120, 900), dice.between(100, 220), 84, 84, (255, 220, 70))
    x, y = canvas.x, canvas.y
    bend = dice.between(200, 820)
    slope = horizon + ((x - bend) ** 2 >> 12)  # a wide hill
    if scene.place == "sea":
        canvas.pixels[horizon * canvas.side // UNIT :] = ground
        step = y // 28
        crest = (y > horizon + 20) & (step % 2 == 0) & ((x + step * 173) // 46 % 4 == 0)
        canvas.pixels[crest] = _mix(ground, (255, 255, 255), 40 if canvas.night else 90)
    elif scene.place == "city":
        _buildings(canvas, dice, horizon)
        canvas.pixels[(horizon + 60) * canvas.side // UNIT :] = ground
    elif scene.place == "mountains":
        _peaks(canvas, dice, horizon)
        canvas.pixels[y >= slope] = ground
    elif scene.place == "desert":
        _pyramid(canvas, dice, horizon, ground)
        canvas.pixels[y >= slope] = ground
        canvas.pixels[y >= horizon + 140 + ((x - UNIT + bend) ** 2 >> 11)] = _mix(ground, (120, 60, 0), 50)
    elif scene.place == "meadow":
        canvas.pixels[y >= slope] = _mix(ground, (20, 80, 40), 70)
        canvas.pixels[y >= horizon + 90 + ((x - UNIT + bend) ** 2 >> 12)] = ground
    else:
        snow = _mix(ground, (255, 255, 255), 64)  # bright at night too
        canvas.pixels[y >= slope - 30] = _mix(snow, canvas.tone((120, 150, 200)), 60)
        canvas.pixels[y >= horizon + 60 + ((x - UNIT + bend) ** 2 >> 12)] = snow
        flake = _mix(canvas.tone((255, 255, 255)), (255, 255, 255), 120)
        for _ in range(24):
            canvas.disc(dice.below(UNIT), dice.below(UNIT), 10, 10, flake)
    if "birds" in scene.sky:
        for _ in range(dice.between(2, 4)):
            view, u, v = canvas.stamp((dice.below(UNIT), dice.between(80, 400)), (40, 20))
            wing = abs(abs(u) - 32) * 2 - 40
            view[(v >= wing) & (v <= wing + 40) & (abs(u) <= BOX)] = PAINT["white"] if canvas.night else PAINT["dark"]


def _buildings(canvas: _Canvas, dice: Dice, horizon: int) -> None:
    left = -dice.below(80)
    while left < UNIT:
        width, roof = dice.between(110, 190), horizon - dice.between(60, 380)
        grey = dice.between(120, 176)
        wall = canvas.tone((grey, grey - 8, grey + dice.between(-14, 16)))
        columns = slice(max(0, left) * canvas.side // UNIT, min(UNIT, left + width) * canvas.side // UNIT)
        rows = slice(max(0, roof) * canvas.side // UNIT, canvas.side)
        view, x, y = canvas.pixels[rows, columns], canvas.x[:, columns] - left, canvas.y[rows] - roof
        view[:] = wall
        window = (x // 30 % 2 == 1) & (x < width - 16) & (y // 36 % 2 == 1)
        view[window] = (250, 216, 120) if canvas.night else _mix(wall, (255, 255, 255), 110)
        left += width


def _peaks(canvas: _Canvas, dice: Dice, horizon: int) -> None:
    for middle in (180, 820, 500):
        height, half = dice.between(300, 460), dice.between(260, 380)
        grey = dice.between(110, 140)
        x = middle + dice.between(-90, 90)
        view, u, v = canvas.stamp((x, horizon + 60 - height // 2), (half, height // 2 + 60))
        rock = _poly(u, v, (0, -BOX), (BOX, BOX), (-BOX, BOX))
        view[rock] = canvas.tone((grey, grey - 6, grey + 4))
        view[rock & (v < -30 + abs(u % 16 - 8))] = canvas.tone((246, 248, 252))


def _pyramid(canvas: _Canvas, dice: Dice, horizon: int, ground: Colour) -> None:
    view, u, v = canvas.stamp((dice.between(150, 870), horizon - 60), (dice.between(170, 240), 150))
    view[_poly(u, v, (0, -BOX), (BOX, BOX), (-BOX, BOX))] = _mix(ground, (90, 60, 20), 60)
    view[_poly(u, v, (0, -BOX), (BOX, BOX), (16, BOX))] = _mix(ground, (60, 40, 20), 120)


def _clouds(canvas: _Canvas, dice: Dice, difficulty: int) -> None:
    """Clouds before the things: high in the sky at difficulty 0, more and lower as it grows."""
    for _ in range(2 + difficulty // 40):
        x, y = dice.below(UNIT), dice.between(70, 150 + difficulty * 6)
        size = dice.between(50, 70 + difficulty // 4)
        white = (92, 98, 124) if canvas.night else (250, 250, 252)
        for dx, dy, radius in ((-size, size // 4, size * 3 // 4), (0, 0, size), (size, size // 4, size * 3 // 4)):
            canvas.disc(x + dx, y + dy, radius + size // 4, radius * 3 // 4, white)


def _things(canvas: _Canvas, things: tuple[Thing, ...], dice: Dice, difficulty: int) -> None:
    """Place each thing in a column of its own; as the difficulty grows, smaller, and astray into others."""
    width = UNIT // len(things)
    for column, thing in enumerate(things):
        radius = (270, 230, 176)[len(things) - 1] * dice.between(85, 100) * (100 - difficulty // 2) // 10000
        stray = max(0, width // 2 - radius) + difficulty * 2
        x = column * width + width // 2 + dice.between(-stray, stray)
        if thing.kind in STANDING:
            y = dice.between(960 - radius - 80, 960 - radius)
        elif thing.kind in FLYING:
            y = dice.between(radius + 40, 560)
        else:
            y = dice.between(480, 940 - radius)
        x, y = (min(max(place, radius), UNIT - radius) for place in (x, y))
        view, u, v = canvas.stamp((x, y), (radius, radius))
        _paint(view, u, v, thing, canvas.night, dice)


def _paint(view: np.ndarray, u: np.ndarray, v: np.ndarray, thing: Thing, night: bool, dice: Dice) -> None:
    def light(colour: Colour) -> Colour:
        return _mix(colour, (20, 24, 60), 70) if night else colour

    main = _jitter(PAINT[thing.colour], 10, dice)
    bright = sum(main) > 450
    accent = _mix(main, (40, 30, 60), 130) if bright else _mix(main, (255, 255, 250), 170)
    parts = [(role, np.broadcast_to(mask, view.shape[:2])) for role, mask in SHAPES[thing.kind](u, v)]
    solid = np.logical_or.reduce([mask for _, mask in parts])
    edge = solid.copy()  # one pixel (half a pixel of the result) wider than the thing
    edge[1:] |= solid[:-1]
    edge[:-1] |= solid[1:]
    edge[:, 1:] |= solid[:, :-1]
    edge[:, :-1] |= solid[:, 1:]
    view[edge] = light(PAINT["dark"])
    turn = dice.below(3)
    for role, mask in parts:
        view[mask] = light(main if role == "body" else PAINT[role])
        if role == "body" and thing.pattern:
            view[mask & _pattern(u, v, thing.pattern, turn)] = light(accent)


def _pattern(u: np.ndarray, v: np.ndarray, pattern: str, turn: int) -> np.ndarray:
    if pattern == "striped":
        return (u, v, u + v)[turn] // 12 % 2 == 0
    if pattern == "spotted":
        return ((u + 13) % 26 - 13) ** 2 + ((v + 13) % 26 - 13) ** 2 <= 60
    return (u // 14 + v // 14) % 2 == 0


def _jitter(colour: Colour, reach: int, dice: Dice) -> Colour:
    red, green, blue = (min(255, max(0, value + dice.between(-reach, reach))) for value in colour)
    return red, green, blue


def _mix(one: Colour, other: Colour, weight: int) -> Colour:
    """`weight` / 256 of the other colour."""
    red, green, blue = ((a * (256 - weight) + b * weight) >> 8 for a, b in zip(one, other, strict=True))
    return red, green, blue


def _disc(u: np.ndarray, v: np.ndarray, x: int, y: int, rx: int, ry: int) -> np.ndarray:
    return ((u - x) * ry) ** 2 + ((v - y) * rx) ** 2 <= (rx * ry) ** 2


def _box(u: np.ndarray, v: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    return (u >= left) & (u <= right) & (v >= top) & (v <= bottom)


def _poly(u: np.ndarray, v: np.ndarray, *corners: tuple[int, int]) -> np.ndarray:
    """Convex, corners clockwise on the screen: right of (or on) every edge."""
    inside = np.ones((v.shape[0], u.shape[1]), bool)
    for (x, y), (next_x, next_y) in zip(corners, corners[1:] + corners[:1], strict=True):
        inside &= (next_x - x) * (v - y) >= (next_y - y) * (u - x)
    return inside


def _balloon(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "dark", _box(u, v, -1, 30, 1, 64)
    yield "body", _disc(u, v, 0, -16, 40, 48) | _poly(u, v, (0, 26), (8, 38), (-8, 38))
    yield "white", _disc(u, v, -16, -34, 7, 11)


def _boat(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "dark", _box(u, v, -6, -62, -2, 26)
    yield "body", _poly(u, v, (0, -58), (50, 18), (0, 18)) | _poly(u, v, (-8, -44), (-8, 18), (-48, 18))
    yield "brown", _poly(u, v, (-62, 26), (62, 26), (42, 58), (-42, 58))


def _butterfly(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    across = abs(u)
    yield "body", _disc(across, v, 32, -24, 30, 30) | _disc(across, v, 26, 28, 24, 26)
    yield "dark", _disc(u, v, 0, 0, 6, 46)


def _car(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "body", _box(u, v, -62, -6, 62, 30) | _poly(u, v, (-26, -40), (24, -40), (44, -6), (-42, -6))
    yield "glass", _poly(u, v, (-20, -33), (-3, -33), (-3, -8), (-32, -8))
    yield "glass", _poly(u, v, (3, -33), (20, -33), (34, -8), (3, -8))
    yield "dark", _disc(abs(u), v, 36, 32, 16, 16)
    yield "cream", _disc(abs(u), v, 36, 32, 6, 6)


def _fish(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "body", _disc(u, v, -12, 0, 48, 32) | _poly(u, v, (28, 0), (62, -30), (62, 30))
    yield "white", _disc(u, v, -36, -8, 9, 9)
    yield "dark", _disc(u, v, -37, -8, 4, 4)


def _flower(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "leaf", _box(u, v, -3, 0, 3, 64) | _disc(u, v, 18, 44, 17, 8) | _disc(u, v, -16, 34, 15, 7)
    petals = [(0, -46), (23, -33), (23, -7), (0, 6), (-23, -7), (-23, -33)]
    yield "body", np.logical_or.reduce([_disc(u, v, x, y, 17, 17) for x, y in petals])
    yield "brown", _disc(u, v, 0, -20, 14, 14)


def _house(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "body", _box(u, v, -46, -8, 46, 58)
    yield "roof", _poly(u, v, (0, -62), (62, -6), (-62, -6))
    yield "brown", _box(u, v, -11, 20, 11, 58)
    yield "glass", _box(abs(u), v, 20, 8, 36, 26)


def _kite(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "dark", _box(u, v, -1, 30, 1, 64)
    yield "body", _poly(u, v, (0, -63), (42, -18), (0, 38), (-42, -18))
    yield "dark", _box(u, v, -1, -60, 1, 36) | _box(u, v, -40, -19, 40, -17)
    yield "flame", (abs(v - 52) <= 8) & (abs(u) <= 14) & (abs(v - 52) * 2 <= abs(u))


def _mushroom(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "cream", _box(u, v, -17, -4, 17, 50) | _disc(u, v, 0, 50, 22, 10)
    yield "body", _disc(u, v, 0, 2, 60, 56) & (v <= 2)


def _rocket(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "flame", _poly(u, v, (-13, 36), (13, 36), (0, 64))
    yield "roof", _poly(abs(u), v, (16, 4), (42, 50), (16, 38))
    yield "body", _disc(u, v, 0, -2, 23, 62) & (v <= 40)
    yield "glass", _disc(u, v, 0, -22, 9, 9)


def _tree(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "brown", _box(u, v, -8, 14, 8, 64)
    yield "body", _disc(u, v, 0, -32, 32, 31) | _disc(abs(u), v, 26, -2, 28, 26)


def _umbrella(u: np.ndarray, v: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    hook = _disc(u, v, -10, 50, 13, 13) & ~_disc(u, v, -10, 50, 7, 7) & (v >= 50)
    yield "dark", _box(u, v, -3, -60, 3, 50) | hook
    scallops = _disc(u, v, 0, 6, 20, 12) | _disc(abs(u), v, 41, 6, 20, 12)
    yield "body", _disc(u, v, 0, 6, 62, 60) & (v <= 6) & ~scallops


SHAPES: dict[str, Shape] = {
    "balloon": _balloon,
    "boat": _boat,
    "butterfly": _butterfly,
    "car": _car,
    "fish": _fish,
    "flower": _flower,
    "house": _house,
    "kite": _kite,
    "mushroom": _mushroom,
    "rocket": _rocket,
    "tree": _tree,
    "umbrella": _umbrella,
}
