"""Draws one picture of a simulated match: what a pinhole camera in the stadium sees.

A picture is an array of packed RGBA pixels, uint32 [PICTURE_HEIGHT, PICTURE_WIDTH]: one number a
pixel makes a look-up in a texture one gather, and `view(np.uint8)` gives the four channels. The
ground and the stands are textures that are drawn once for each stadium; for each pixel the camera's
ray says which texel it shows. People are figures of a few capsules, kept as masks of body parts for
each pose and size. Nothing that is written, no score and no clock, is in the picture.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spotting.data.simulated.players import (
    ARMS_UP,
    ASSISTANTS,
    FLAG_UP,
    GOAL_HEIGHT,
    GOAL_WIDTH,
    HALF_PITCH,
    HANDS_ON_HEAD,
    HOLDS_BALL,
    KNEELING,
    LYING,
    NUM_PEOPLE,
    ONE_ARM_UP,
    PHYSIOS,
    REFEREE,
    TEAM_SIZE,
    UPRIGHT,
)

PICTURE_WIDTH, PICTURE_HEIGHT = 398, 224
"""Of SoccerNet-v2's low-resolution videos."""

STAND_X, STAND_Y = 62.0, 41.0  # metres from the centre spot to the stands
BOARD_HEIGHT, ROOF_HEIGHT = 1.1, 15.0

_GROUND_SCALE = 8.0  # texels per metre
_GROUND_HALF = np.array([STAND_X + 1, STAND_Y + 1])
_STAND_SCALE = 6.0
_STAND_LENGTH = 200.0  # metres of stand before its picture repeats
_STAND_TOP = 40.0
_CROWD_CONTRAST = 0.45

_PERSON_HEIGHT = 1.85
_OUT_OF_FOCUS = 8  # a close-up's background is one pixel of 8 in each direction


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera that is not tilted sideways.

    Attributes:
      position: [3], in metres.
      target: [3]; what is in the middle of the picture.
      focal: focal length in pixels.
      close: whether it is a close-up, with the background out of focus.
    """

    position: np.ndarray
    target: np.ndarray
    focal: float
    close: bool = False

    @functools.cached_property
    def axes(self) -> np.ndarray:
        """Unit vectors [3, 3] to the right, up and forward."""
        x, y, z = (self.target - self.position).tolist()
        ground = math.hypot(x, y)
        whole = math.hypot(ground, z)
        right = (y / ground, -x / ground, 0.0)
        up = (-x * z / (ground * whole), -y * z / (ground * whole), ground / whole)
        return np.array([right, up, (x / whole, y / whole, z / whole)])

    @functools.cached_property
    def distance(self) -> float:
        """Metres to the target."""
        return math.dist(self.position, self.target)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Column, row and depth in metres, each [...], of points [..., 3]."""
        seen = (points - self.position) @ self.axes.T
        depth = seen[..., 2]
        scale = self.focal / np.maximum(depth, 0.1)
        columns = PICTURE_WIDTH / 2 + scale * seen[..., 0]
        return columns, PICTURE_HEIGHT / 2 - scale * seen[..., 1], depth


class Stadium(NamedTuple):
    """What a match looks like, whatever happens in it.

    Attributes:
      ground: uint32 texture [rows, columns]; a row is a step away from the main stand.
      stands: uint32 textures [4, rows, columns]; the more excited, the further on.
      sky: uint32.
      kits: uint32 [NUM_PEOPLE, NUM_PARTS], the colour of each part of each person.
      shadows: [S, 2], where a person's shadows fall, in metres for each metre of height.
      shade: how dark shadows are: 0 lighter, 1 darker.
    """

    ground: np.ndarray
    stands: np.ndarray
    sky: int
    kits: np.ndarray
    shadows: np.ndarray
    shade: int


class Moment(NamedTuple):
    """What there is to see at one time: one step of `players.Motion`."""

    ball: np.ndarray
    people: np.ndarray
    velocity: np.ndarray
    pose: np.ndarray
    excitement: float
    time: float


def draw(stadium: Stadium, camera: Camera, moment: Moment) -> np.ndarray:
    """The picture, uint32 [PICTURE_HEIGHT, PICTURE_WIDTH], that a camera takes at a moment."""
    if camera.close:
        picture = _defocus(_draw_background(stadium, camera, moment, _OUT_OF_FOCUS // 2))
    else:
        picture = _draw_background(stadium, camera, moment, 1)
        _draw_shadows(picture, stadium, camera, moment)
    _draw_goals(picture, camera)
    _draw_people(picture, stadium, camera, moment)
    return picture


def pack(colours: np.ndarray) -> np.ndarray:
    """Packed pixels, uint32 [...], of RGB colours [..., 3] between 0 and 255."""
    rgb = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    rgba = np.concatenate([rgb, np.full((*rgb.shape[:-1], 1), 255, np.uint8)], axis=-1)
    return np.ascontiguousarray(rgba).view(np.uint32)[..., 0]


def unpack(picture: np.ndarray) -> np.ndarray:
    """RGBA channels, uint8 [H, W, 4], of packed pixels [H, W]; a view."""
    return picture.view(np.uint8).reshape(*picture.shape, 4)


# ---------------------------------------------------------------------------------------------
# The stadium
# ---------------------------------------------------------------------------------------------


def build_stadium(rng: np.random.Generator) -> Stadium:
    """A stadium on a day: light, grass, kits, stands and boards, drawn once for each match."""
    light = rng.choice(["sun", "clouds", "floodlight"])
    exposure = {"sun": 1.08, "clouds": 0.95, "floodlight": 0.9}[light] * rng.uniform(0.95, 1.05)
    tint = {"sun": (1.05, 1.0, 0.9), "clouds": (0.96, 1.0, 1.05), "floodlight": (1, 1, 1.02)}[light]
    cast = exposure * np.array(tint)
    kits = _choose_kits(rng)
    angle = rng.uniform(-np.pi, np.pi)
    long_shadow = rng.uniform(0.8, 1.6) * np.array([[np.cos(angle), np.sin(angle)]])
    shadows = {
        "sun": long_shadow,
        "clouds": np.array([[0.12, 0.05]]),
        "floodlight": np.array([[0.5, 0.35], [-0.5, 0.35], [0.5, -0.35], [-0.5, -0.35]]),
    }[light]
    sky = {"sun": (120, 170, 225), "clouds": (180, 185, 192), "floodlight": (14, 16, 28)}[light]
    return Stadium(
        pack(_draw_ground(rng, sunny=light == "sun") * cast),
        pack(_draw_stands(rng, kits) * cast * (0.55 if light == "floodlight" else 0.8)),
        int(pack(np.array(sky, float))),
        pack(kits * cast),
        shadows,
        int(light == "sun"),
    )


def _draw_ground(rng: np.random.Generator, sunny: bool) -> np.ndarray:
    """The pitch from above, float [rows, columns, 3]."""
    columns, rows = (np.rint(2 * _GROUND_HALF * _GROUND_SCALE)).astype(int)
    x = (np.arange(columns) + 0.5) / _GROUND_SCALE - _GROUND_HALF[0]
    y = ((np.arange(rows) + 0.5) / _GROUND_SCALE - _GROUND_HALF[1])[:, None]
    grass = np.array([rng.uniform(50, 70), rng.uniform(108, 125), rng.uniform(40, 55)])
    stripe = rng.choice([5.5, 10.5])
    stripes = np.floor(x / stripe + 0.5) % 2 + np.zeros_like(y)
    if rng.random() < 0.3:  # mown crosswise too
        stripes = (stripes + np.floor(y / stripe + 0.5) % 2) / 2
    shade = 1 + rng.uniform(0.03, 0.06) * (2 * stripes - 1)
    shade *= 1 + 0.015 * rng.standard_normal((rows, columns))
    # Worn goal mouths.
    wear = np.exp(-(((np.abs(x) - 48) / 4) ** 2) - (y / 5) ** 2)[..., None] * rng.uniform(0, 0.6)
    ground = grass * shade[..., None]
    ground = ground * (1 - wear) + np.array([125.0, 115.0, 70.0]) * wear
    outside = (np.abs(x) > HALF_PITCH[0] + 4) | (np.abs(y) > HALF_PITCH[1] + 3.5)
    ground[outside] *= 0.8
    chalk = _draw_lines(x, y)[..., None]
    ground = ground * (1 - chalk) + np.array([235.0, 240.0, 235.0]) * chalk
    if sunny and rng.random() < 0.5:  # the stand's shadow lies on a part of the pitch
        ground *= np.interp(y, rng.uniform(-38, -15) + np.array([-1, 1]), [0.75, 1])[..., None]
    return ground


def _draw_lines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How much chalk is on each texel, 0 to 1, [rows, columns].

    Lines are drawn wider than they are: a pixel is some 15 cm of the pitch wide, and from the stand
    half a metre deep.
    """
    length, width = HALF_PITCH

    def line(distance: np.ndarray, thickness: float) -> np.ndarray:
        return np.clip(1.5 - np.abs(distance) / thickness, 0, 1)

    def along(at: float, begin: float, end: float) -> np.ndarray:  # |x| from begin to end
        return line(np.abs(y) - at, 0.24) * ((np.abs(x) >= begin) & (np.abs(x) <= end))

    def across(at: float, end: float) -> np.ndarray:  # |y| up to end
        return line(np.abs(x) - at, 0.13) * (np.abs(y) <= end)

    chalk = across(length, width) + across(0.0, width) + along(width, 0.0, length)
    for depth, half_width in ((16.5, 20.16), (5.5, 9.16)):
        chalk += across(length - depth, half_width) + along(half_width, length - depth, length)
    from_spot = np.hypot(np.abs(x) - (length - 11), y)
    chalk += line(np.hypot(x, y) - 9.15, 0.2)
    chalk += line(from_spot - 9.15, 0.2) * (np.abs(x) < length - 16.5)
    chalk += (from_spot < 0.35) + (np.hypot(x, y) < 0.35)
    return np.clip(chalk, 0, 1) * 0.9


def _draw_stands(rng: np.random.Generator, kits: np.ndarray) -> np.ndarray:
    """Boards, seats and people, float [4, rows, columns, 3]; bottom row first."""
    columns, rows = int(_STAND_LENGTH * _STAND_SCALE), int(_STAND_TOP * _STAND_SCALE)
    seat = 4  # texels, about 65 cm
    down, across = rows // seat, columns // seat
    supporters = np.stack(
        [
            kits[1, 3],
            kits[TEAM_SIZE + 1, 3],
            [60, 60, 70],
            [200, 200, 205],
            [120, 60, 50],
            [40, 50, 90],
        ]
    ).astype(float)
    clothes = supporters[rng.choice(6, (down, across), p=[0.22, 0.08, 0.3, 0.15, 0.12, 0.13])]
    clothes *= rng.uniform(0.5, 1.1, (down, across, 1))
    seats = rng.uniform(30, 150, 3)
    empty = rng.random((down, across)) < rng.uniform(0.05, 0.35)
    skin = np.array([205.0, 160, 130]) * rng.uniform(0.55, 1, (down, across, 1))
    eager = rng.random((down, across))
    flag = np.where(rng.random((down, across, 1)) < 0.5, kits[1, 3], np.array([250.0, 250, 245]))
    levels = []
    for level in range(4):
        up = eager < (0.0, 0.25, 0.55, 0.9)[level]
        cells = np.empty((down, seat, across, seat, 3))
        body = np.where(empty[..., None], seats, clothes)
        cells[:] = body[:, None, :, None]
        cells[:, 2, :, 1:3] = np.where(empty[..., None], seats * 0.8, skin)[:, :, None]
        cells[:, 3] = np.where((up & ~empty)[..., None], skin * 1.15, seats * 0.45)[:, :, None]
        waving = (up & ~empty & (eager < 0.2))[..., None]
        cells[:, 2:] = np.where(waving, flag * 1.1, 0)[:, None, :, None] + np.where(
            waving[:, None, :, None], 0, cells[:, 2:]
        )
        picture = cells.reshape(down * seat, across * seat, 3)[:rows, :columns]
        z = np.arange(len(picture)) / _STAND_SCALE
        picture[(z > 7) & (z < 8)] = (95, 95, 100)  # between the tiers
        picture[z > ROOF_HEIGHT - 1.5] = (55, 57, 62)
        levels.append(picture)
    stands = np.stack(levels)
    # From afar a crowd is a pattern of little contrast.
    mean = stands[0].mean(axis=(0, 1))
    stands = 0.7 * (mean + _CROWD_CONTRAST * (stands - mean))
    # Advertising boards: colours and shapes, no letters.
    board = int(BOARD_HEIGHT * _STAND_SCALE)
    stands[:, board] = (90, 90, 95)
    at = 0
    while at < columns:
        size = int(rng.uniform(5, 11) * _STAND_SCALE)
        back, front = rng.uniform(20, 255, 3), rng.uniform(20, 255, 3)
        i = np.arange(size)[None, :] // 2 * 2
        pattern = rng.choice(3)
        rows_ = np.arange(board)[:, None]
        shape = ((i + rows_ * 2) % 16 < 7, (i // 6) % 3 == 0, np.abs(i % 18 - 9) + rows_ < 9)[
            pattern
        ]
        inked = np.where((shape & (i > 3) & (i < size - 3))[..., None], front, back)
        width = min(size, columns - at)
        stands[:, :board, at : at + width] = inked[:, :width] * 1.2
        at += size
    return stands


# ---------------------------------------------------------------------------------------------
# Ground and stands
# ---------------------------------------------------------------------------------------------


def _draw_background(stadium: Stadium, camera: Camera, moment: Moment, step: int) -> np.ndarray:
    """The picture without people; one pixel of `step` in each direction."""
    height, width = PICTURE_HEIGHT // step, -(-PICTURE_WIDTH // step)
    right, up, forward = camera.axes
    across = (np.arange(width, dtype=np.float32) + 0.5) * step - PICTURE_WIDTH / 2
    upward = PICTURE_HEIGHT / 2 - (np.arange(height) + 0.5) * step
    # A pixel's ray is base[row] + across[column] * right. `right` is level, so that the fall of a
    # ray, and with it the distance to the ground, depends on the row alone.
    base = camera.focal * forward + upward[:, None] * up
    distance = np.where(
        base[:, 2] < -1e-2, camera.position[2] / -np.minimum(base[:, 2], -1e-2), 1e4
    )
    begin = camera.position[:2] + distance[:, None] * base[:, :2]  # at across = 0
    slope = distance[:, None] * right[:2]
    ends = begin[:, None] + slope[:, None] * across[[0, -1], None]  # [height, 2, 2]

    rows, columns = stadium.ground.shape
    texel = ((begin + _GROUND_HALF) * _GROUND_SCALE).astype(np.float32)
    texel_slope = (slope * _GROUND_SCALE).astype(np.float32)
    column = (texel[:, :1] + texel_slope[:, :1] * across).astype(np.int32)
    row = (texel[:, 1:] + texel_slope[:, 1:] * across).astype(np.int32)
    beyond = (np.abs(ends) >= _GROUND_HALF).any(axis=(1, 2))
    if beyond.any():
        some = slice(np.argmax(beyond), height - np.argmax(beyond[::-1]))
        np.clip(column[some], 0, columns - 1, out=column[some])
        np.clip(row[some], 0, rows - 1, out=row[some])
    row *= columns
    row += column
    picture = stadium.ground.ravel().take(row)

    # Rays that reach a stand before the ground: those of the upper rows.
    behind = (np.abs(ends[..., 0]) > STAND_X) | (ends[..., 1] > STAND_Y)
    if behind.any():
        last = height - int(np.argmax(behind.any(axis=1)[::-1]))
        rays = base[:last].astype(np.float32)
        ray_x = rays[:, :1] + np.float32(right[0]) * across
        ray_y = rays[:, 1:2] + np.float32(right[1]) * across
        upper = picture[:last]
        stands, there = _look_behind(
            stadium, moment, camera.position.tolist(), ray_x, ray_y, rays[:, 2:]
        )
        np.copyto(upper, stands, where=there)
    return picture


def _look_behind(
    stadium: Stadium,
    moment: Moment,
    position: Sequence[float],
    ray_x: np.ndarray,
    ray_y: np.ndarray,
    ray_z: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """What rays meet of the three stands, and whether they do so above the ground; both [H, W]."""
    px, py, pz = position
    to_side = (STAND_Y - py) / np.maximum(ray_y, np.float32(1e-3))
    to_end = (STAND_X - np.copysign(np.float32(px), px * ray_x)) / np.maximum(
        np.abs(ray_x), np.float32(1e-3)
    )
    distance = np.minimum(to_side, to_end)
    z = pz + distance * ray_z
    along = np.where(to_side < to_end, px + distance * ray_x, py + distance * ray_y + 77)
    level = min(3, int(4 * moment.excitement))
    _, rows, columns = stadium.stands.shape
    column = ((along + 2 * _STAND_LENGTH) * _STAND_SCALE).astype(np.int32) % columns
    row = (z * _STAND_SCALE).astype(np.int32)
    if level:  # people jump, each with a beat of their own
        beat = np.arange(columns) // 4 * 2.4 + 9 * moment.time
        jump = np.rint(0.6 * level * np.sin(beat)).astype(np.int32)
        row -= jump[column] * (z > BOARD_HEIGHT + 1)
    np.clip(row, 0, rows - 1, out=row)
    row *= columns
    row += column
    stands = stadium.stands[level].ravel().take(row)
    stands[z > ROOF_HEIGHT] = stadium.sky
    return stands, z > 0


def _defocus(small: np.ndarray) -> np.ndarray:
    """A picture of half the pixels' size that `_OUT_OF_FOCUS` says, at full size and blurred."""
    height, width = (size // 2 * 2 for size in small.shape)
    values = unpack(np.ascontiguousarray(small[:height, :width])).astype(np.float32)
    values = values.reshape(height // 2, 2, width // 2, 2, 4).mean(axis=(1, 3))
    for axis, many in ((0, PICTURE_HEIGHT), (1, PICTURE_WIDTH)):
        few = values.shape[axis]
        place = np.clip((np.arange(many) + 0.5) / _OUT_OF_FOCUS - 0.5, 0, few - 1)
        before = np.minimum(place.astype(int), few - 2)
        share = (place - before).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        step = np.diff(values, axis=axis)
        values = values.take(before, axis) + share * step.take(before, axis)
    return values.astype(np.uint8).view(np.uint32)[..., 0]


# ---------------------------------------------------------------------------------------------
# Goals, shadows, people
# ---------------------------------------------------------------------------------------------


_WHITE = int(pack(np.array([240.0, 240.0, 240.0])))


def _make_goal() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The goal at +x: line segments [S, 2, 3], their widths in metres and their colours, [S]."""
    w, h, x, deep = GOAL_WIDTH / 2, GOAL_HEIGHT, HALF_PITCH[0], 2.0
    net = []
    for y in np.linspace(-w, w, 13):
        net += [[(x + deep, y, 0), (x + 0.8, y, h)], [(x + 0.8, y, h), (x, y, h)]]
    for z in np.linspace(0, h, 6):
        back = x + deep - 1.2 * z / h
        net.append([(back, -w, z), (back, w, z)])
        net += [[(x, y, z), (back, y, z)] for y in (-w, w)]
    frame = [[(x, y, 0), (x, y, h)] for y in (-w, w)] + [[(x, -w, h), (x, w, h)]]
    flags = [[(x, y, 0), (x, y, 1.5)] for y in (-HALF_PITCH[1], HALF_PITCH[1])]
    counts = len(net), len(frame), len(flags)
    colours = pack(np.array([(170.0, 178, 172), (240, 240, 240), (240, 210, 40)]))
    return (
        np.array([*net, *frame, *flags]),
        np.repeat([0.0, 0.12, 0.1], counts),
        np.repeat(colours, counts),
    )


_GOAL = _make_goal()


def _draw_goals(picture: np.ndarray, camera: Camera) -> None:
    segments, widths, colours = _GOAL
    for end in (-1, 1):
        sides = np.array([(end * HALF_PITCH[0], y, 0) for y in (-HALF_PITCH[1], 0, HALF_PITCH[1])])
        column, _, depth = camera.project(sides)
        seen = (column > -40) & (column < PICTURE_WIDTH + 40) & (depth > 1)
        if seen.any():
            _draw_segments(picture, camera, segments * [end, 1, 1], widths, colours)


def _draw_segments(
    picture: np.ndarray,
    camera: Camera,
    segments: np.ndarray,
    widths: np.ndarray,
    colours: np.ndarray,
) -> None:
    column, row, depth = camera.project(segments)
    # Only those that are wholly in front of the camera and at least partly in the picture.
    seen = depth.min(axis=1) > 1
    seen &= (column.max(axis=1) >= 0) & (column.min(axis=1) < PICTURE_WIDTH)
    if not seen.any():
        return
    column, row, colours = column[seen], row[seen], colours[seen]
    widths = np.maximum(1, np.rint(widths[seen] * camera.focal / depth[seen].mean(axis=1)))
    longest = max(np.ptp(column, axis=1).max(), np.ptp(row, axis=1).max())
    share = np.linspace(0, 1, int(min(longest, 1500)) + 2)
    u = (column[:, :1] + (column[:, 1:] - column[:, :1]) * share).astype(np.int32)
    v = (row[:, :1] + (row[:, 1:] - row[:, :1]) * share).astype(np.int32)
    for aside in range(int(widths.max())):
        wide = widths > aside
        _put(picture, u[wide] + aside, v[wide], colours[wide, None])


def _put(picture: np.ndarray, u: np.ndarray, v: np.ndarray, colours: np.ndarray | int) -> None:
    """Sets the pixels in columns `u` and rows `v` that are in the picture."""
    inside = (u >= 0) & (u < PICTURE_WIDTH) & (v >= 0) & (v < PICTURE_HEIGHT)
    picture[v[inside], u[inside]] = np.broadcast_to(colours, u.shape)[inside]


def _draw_shadows(picture: np.ndarray, stadium: Stadium, camera: Camera, moment: Moment) -> None:
    share = np.linspace(0, 1, 9)[:, None]
    reach = stadium.shadows[:, None] * share * 1.7  # [S, 9, 2]
    feet = np.concatenate([moment.people, moment.ball[None, :2]])
    reach = reach.reshape(-1, 2)
    points = np.zeros((len(feet), len(reach), 3))
    points[..., :2] = feet[:, None] + reach
    points[-1, :, :2] = feet[-1]
    column, row, depth = camera.project(points.reshape(-1, 3))
    width = max(2, round(0.45 * camera.focal / float(np.median(depth))))
    u = column.astype(np.int32)[:, None] + np.arange(width) - width // 2
    v = np.broadcast_to(row.astype(np.int32)[:, None], u.shape)
    inside = (u >= 0) & (u < PICTURE_WIDTH) & (v >= 0) & (v < PICTURE_HEIGHT)
    inside &= (depth > 1)[:, None]
    place = v[inside] * PICTURE_WIDTH + u[inside]
    flat = picture.reshape(-1)
    flat[place] = _darken(flat[place], stadium.shade)


def _darken(pixels: np.ndarray, shade: int) -> np.ndarray:
    half = (pixels >> 1) & np.uint32(0x7F7F7F7F)
    if not shade:
        half += (pixels >> 2) & np.uint32(0x3F3F3F3F)
    return half | np.uint32(0xFF000000)


def _draw_people(picture: np.ndarray, stadium: Stadium, camera: Camera, moment: Moment) -> None:
    feet = np.concatenate([moment.people, np.zeros((NUM_PEOPLE, 1))], axis=1)
    column, row, depth = camera.project(feet)
    sizes = camera.focal * _PERSON_HEIGHT / np.maximum(depth, 1)
    nearest = 0.55 * camera.distance
    speed = np.hypot(*moment.velocity.T)
    strides = moment.time * np.where(speed > 4, 1.6, 1.0) + np.arange(NUM_PEOPLE) * 0.37
    step = np.where(speed > 1.0, (strides * 6).astype(int) % 6, -1)
    left = moment.velocity[:, 0] < 0
    for who in np.argsort(-depth):
        if depth[who] < nearest:
            continue
        figure = _make_figure(
            float(sizes[who]), int(moment.pose[who]), int(step[who]), bool(left[who])
        )
        _stamp(picture, figure, stadium.kits[who], column[who], row[who])
    _draw_ball(picture, camera, moment.ball, nearest)


def _stamp(
    picture: np.ndarray, figure: "Figure", colours: np.ndarray, column: float, row: float
) -> None:
    """Puts a figure into the picture, its feet at (column, row)."""
    mask = figure.parts
    top, left = int(row) - figure.feet, int(column) - figure.middle
    y0, x0 = max(top, 0), max(left, 0)
    y1 = min(top + mask.shape[0], PICTURE_HEIGHT)
    x1 = min(left + mask.shape[1], PICTURE_WIDTH)
    if y0 >= y1 or x0 >= x1:
        return
    parts = mask[y0 - top : y1 - top, x0 - left : x1 - left]
    np.copyto(picture[y0:y1, x0:x1], colours[parts], where=parts > 0)


def _draw_ball(picture: np.ndarray, camera: Camera, ball: np.ndarray, nearest: float) -> None:
    column, row, depth = camera.project(ball + np.array([0, 0, 0.12]))
    if depth < nearest:
        return
    # Small, it is drawn larger than it is, as lines are.
    radius = max(1.5, (0.12 if camera.close else 0.17) * camera.focal / float(depth))
    reach = int(radius) + 1
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = u * u + v * v <= radius * radius
    _put(picture, u[disc] + int(column), v[disc] + int(row), _WHITE)


# ---------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------

HAIR, SKIN, SHIRT, SLEEVE, SHORTS, SOCKS, BOOTS, DARK, EXTRA = range(1, 10)
NUM_PARTS = 10
"""Parts of a figure, and indices of their colours; 0 is not of the figure."""

_LARGEST = 48  # taller figures are enlarged from one of _LARGE pixels
_LARGE = 220


class Figure(NamedTuple):
    """A person at a size: the part, uint8 [H, W], at each pixel, and where the feet are in it."""

    parts: np.ndarray
    feet: int
    middle: int


def _make_figure(height: float, pose: int, step: int, left: bool) -> Figure:
    if height <= _LARGEST:
        return _draw_figure(max(5, round(height)), pose, step, left)
    large = _draw_figure(_LARGE, pose, step, left)
    scale = height / _LARGE
    rows = (np.arange(int(large.parts.shape[0] * scale)) / scale).astype(int)
    columns = (np.arange(int(large.parts.shape[1] * scale)) / scale).astype(int)
    return Figure(
        large.parts[rows[:, None], columns], int(large.feet * scale), int(large.middle * scale)
    )


@functools.lru_cache(maxsize=4096)
def _draw_figure(height: int, pose: int, step: int, left: bool) -> Figure:
    """Draws a figure `height` pixels tall; `step` is one of six of a stride, -1 stands."""
    reach = int(np.ceil(1.05 * height))
    x = (np.arange(-reach, reach + 1) / height)[None, :]
    y = (np.arange(int(1.4 * height), -int(0.12 * height) - 1, -1) / height)[:, None]
    parts = np.zeros((y.size, x.size), np.uint8)
    for x0, y0, x1, y1, radius, part in _pose_body(pose, step):
        if left:
            x0, x1 = -x0, -x1
        radius = max(radius, 0.55 / height)  # a pixel at least
        dx, dy = x1 - x0, y1 - y0
        share = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        parts[np.hypot(x - x0 - share * dx, y - y0 - share * dy) <= radius] = part
    used_rows, used_columns = np.flatnonzero(parts.any(1)), np.flatnonzero(parts.any(0))
    top, first = used_rows[0], used_columns[0]
    cut = parts[top : used_rows[-1] + 1, first : used_columns[-1] + 1]
    return Figure(np.ascontiguousarray(cut), int(1.4 * height) - int(top), reach - int(first))


Capsule = tuple[float, float, float, float, float, int]


def _pose_body(pose: int, step: int) -> list[Capsule]:
    """Capsules (x0, y0, x1, y1, radius, part) of a body of height 1 that stands at (0, 0)."""
    body = _pose_legs(step if pose in (UPRIGHT, ARMS_UP, HOLDS_BALL) else -1)
    swing = np.sin(step * np.pi / 3) * 0.12 if step >= 0 else 0.0
    body.append((0, 0.53, 0, 0.77, 0.105, SHIRT))
    body.append((0.055, 0.55, 0.06, 0.76, 0.045, SLEEVE))
    if pose == ARMS_UP:
        arms = [
            [(-0.12, 0.79), (-0.24, 0.95), (-0.26, 1.15)],
            [(0.12, 0.79), (0.24, 0.95), (0.26, 1.15)],
        ]
    elif pose == HANDS_ON_HEAD:
        arms = [
            [(-0.12, 0.79), (-0.25, 0.9), (-0.06, 0.99)],
            [(0.12, 0.79), (0.25, 0.9), (0.06, 0.99)],
        ]
    elif pose == HOLDS_BALL:
        arms = [
            [(-0.12, 0.79), (-0.17, 0.98), (-0.06, 1.14)],
            [(0.12, 0.79), (0.17, 0.98), (0.06, 1.14)],
        ]
    elif pose in (ONE_ARM_UP, FLAG_UP):
        arms = [
            [(-0.12, 0.79), (-0.17, 0.63), (-0.14, 0.48)],
            [(0.12, 0.79), (0.18, 1.0), (0.2, 1.2)],
        ]
    else:
        arms = [
            [(-0.12, 0.79), (-0.18, 0.64), (-0.13 - swing, 0.5)],
            [(0.12, 0.79), (0.18, 0.64), (0.13 - swing, 0.5)],
        ]
    for shoulder, elbow, hand in arms:
        body.append((*elbow, *hand, 0.03, SKIN))
        body.append((*shoulder, *elbow, 0.042, SLEEVE))
    body += [
        (0, 0.84, 0, 0.88, 0.035, SKIN),
        (0, 0.905, 0, 0.925, 0.058, SKIN),
        (-0.01, 0.955, 0.01, 0.955, 0.052, HAIR),
        (-0.022, 0.915, -0.02, 0.915, 0.007, DARK),
        (0.022, 0.915, 0.02, 0.915, 0.007, DARK),
    ]
    if pose == FLAG_UP:
        body += [(0.2, 1.2, 0.24, 1.38, 0.012, DARK), (0.27, 1.31, 0.36, 1.29, 0.06, EXTRA)]
    if pose == LYING:
        return [
            (y0 - 0.5, 0.06 + 0.45 * (x0 + 0.12), y1 - 0.5, 0.06 + 0.45 * (x1 + 0.12), r * 0.8, p)
            for x0, y0, x1, y1, r, p in body
        ]
    if pose == KNEELING:
        return [(x0, 0.62 * y0, x1, 0.62 * y1, r, p) for x0, y0, x1, y1, r, p in body]
    return body


def _pose_legs(step: int) -> list[Capsule]:
    legs: list[Capsule] = []
    for side in (-1, 1):
        hip = 0.055 * side
        if step < 0:
            knee, foot = (0.075 * side, 0.25), (0.08 * side, 0.03)
        else:
            angle = step * np.pi / 3 + (np.pi if side > 0 else 0)
            knee = (hip + 0.13 * np.sin(angle), 0.26 + 0.03 * max(0.0, np.cos(angle)))
            foot = (hip + 0.24 * np.sin(angle) - 0.05, 0.03 + 0.13 * max(0.0, np.cos(angle)))
        legs += [
            (*foot, foot[0] + 0.05, foot[1] - 0.005, 0.028, BOOTS),
            (*foot, *knee, 0.036, SOCKS),
            (*knee, hip, 0.45, 0.05, SKIN),
            ((knee[0] + hip) / 2, 0.38, hip, 0.5, 0.068, SHORTS),
        ]
    return legs


def _choose_kits(rng: np.random.Generator) -> np.ndarray:
    """Colours, float [NUM_PEOPLE, NUM_PARTS, 3]."""
    palette = np.array(
        [
            (200, 30, 40),
            (30, 60, 180),
            (240, 240, 240),
            (240, 200, 30),
            (110, 25, 60),
            (35, 35, 40),
            (90, 170, 230),
            (240, 120, 30),
            (90, 50, 140),
        ],
        float,
    )
    kits = np.zeros((NUM_PEOPLE, NUM_PARTS, 3))
    home, away = rng.choice(len(palette), 2, replace=False)
    while np.abs(palette[home] - palette[away]).sum() < 220:
        away = rng.integers(len(palette))
    keepers = rng.permutation([(60, 220, 90), (250, 90, 180), (250, 240, 60), (80, 230, 230)])
    for who in range(NUM_PEOPLE):
        skin = np.array([225.0, 175, 145]) * rng.uniform(0.45, 1.05)
        hair = np.array([70.0, 50, 35]) * rng.uniform(0.3, 2.2)
        if who < REFEREE:
            team = who // TEAM_SIZE
            shirt = palette[(home, away)[team]]
            trousers = (shirt * 0.4, np.array([235.0, 235, 235]))[(home + team) % 2]
            if who % TEAM_SIZE == 0:
                shirt = keepers[team].astype(float)
                trousers = shirt * 0.7
            socks = shirt
        elif who in PHYSIOS:
            shirt, trousers, socks = (np.array([170.0, 30, 30]),) * 3
        else:
            shirt = np.array([25.0, 25, 28])
            trousers = socks = shirt
            if who in ASSISTANTS:
                kits[who, EXTRA] = (255, 150, 20)
        kits[who, HAIR], kits[who, SKIN] = hair, skin
        kits[who, SHIRT], kits[who, SLEEVE] = shirt, shirt * 0.78 + 12
        kits[who, SHORTS], kits[who, SOCKS], kits[who, BOOTS] = trousers, socks, (30, 30, 30)
        kits[who, DARK] = (25, 20, 20)
    return kits
