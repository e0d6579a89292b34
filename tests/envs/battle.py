"""The small battle that the stand-in for StarCraft II plays.

It is deterministic: units walk, shoot and die by the rules of `KINDS`; enemies fight the nearest agent.
"""

import math
from dataclasses import dataclass, field

SIZE = 32
FIRST_RL_TYPE = 300  # of the nine custom types of SMACv2, the last ids of the game's data
FIRST_ALLY_TYPE = 1970  # of SMACv1's maps
SPEED = 0.25  # distance per game loop: 8 loops are smacv2's move
PAUSE = 4  # game loops between the last death and the map's respawn
MAPS = {
    "3m": (3 * ["marine"], 3 * ["marine"]),
    "8m": (8 * ["marine"], 8 * ["marine"]),
    "2s3z": (2 * ["stalker"] + 3 * ["zealot"],) * 2,
    "5m_vs_6m": (5 * ["marine"], 6 * ["marine"]),
    "3s5z_vs_3s6z": (3 * ["stalker"] + 5 * ["zealot"], 3 * ["stalker"] + 6 * ["zealot"]),
}
RL_TYPES = ("baneling", "colossus", "hydralisk", "marauder", "marine", "medivac", "stalker", "zealot", "zergling")
# id of Blizzard's unit, health, shield, reach, damage, game loops between shots
KINDS = {
    "marine": (48, 45, 0, 6, 6, 15),
    "marauder": (51, 125, 0, 6, 10, 25),
    "medivac": (54, 150, 0, 4, 0, 15),
    "stalker": (74, 80, 80, 6, 13, 35),
    "zealot": (73, 100, 50, 1, 16, 22),
    "colossus": (4, 200, 150, 7, 10, 24),
    "zergling": (105, 35, 0, 1, 5, 11),
    "baneling": (9, 30, 0, 1, 16, 30),
    "hydralisk": (107, 90, 0, 5, 12, 13),
}


@dataclass
class Unit:
    tag: int
    kind: str
    type: int
    owner: int
    x: float
    y: float
    health: float
    shield: float
    cooldown: int = 0
    order: tuple = field(default=("stop",))


class World:
    """Units and the rules by which they move, fight and appear."""

    def __init__(self, name, idle=False, regain=0.0):
        self.idle, self.regain, self.teams = idle, regain, MAPS.get(name)
        self.units, self.tags, self.empty = {}, 0, 0
        self.fresh = True  # nobody has acted since the units appeared
        if self.teams:
            self.populate()

    def populate(self):
        for owner, (team, x) in enumerate(zip(self.teams, (9.0, 23.0), strict=True), 1):
            kinds = sorted(set(team))
            for i, kind in enumerate(team):
                custom = FIRST_ALLY_TYPE + kinds.index(kind)
                self.add(kind, custom if owner == 1 else KINDS[kind][0], owner, x, 16 + 1.5 * (i - len(team) / 2))

    def add(self, kind, type, owner, x, y):
        self.tags += 1
        _, health, shield, *_ = KINDS[kind]
        self.units[self.tags] = Unit(self.tags, kind, type, owner, x, y, health, shield)
        self.fresh, self.empty = True, 0

    def create(self, type, owner, x, y):
        names = {number: name for name, (number, *_) in KINDS.items()}
        self.add(RL_TYPES[type - FIRST_RL_TYPE] if owner == 1 else names[type], type, owner, x, y)

    def kill(self, tags):
        for tag in tags:
            self.units.pop(tag, None)

    def loop(self):
        """One game loop."""
        if not self.units:
            self.empty += 1
            if self.teams and self.empty > PAUSE:
                self.populate()
            return
        for unit in list(self.units.values()):
            if unit.tag in self.units:
                unit.cooldown = max(0, unit.cooldown - 1)
                unit.shield = min(KINDS[unit.kind][2], unit.shield + self.regain)
                self.act(unit, unit.order if unit.owner == 1 else self.plan(unit))

    def plan(self, unit):
        foes = [other for other in self.units.values() if other.owner != unit.owner]
        if self.idle or not foes or unit.kind == "medivac":
            return ("stop",)
        return ("attack", min(foes, key=lambda foe: (math.dist((unit.x, unit.y), (foe.x, foe.y)), foe.tag)).tag)

    def act(self, unit, order):
        if order[0] == "move":
            self.walk(unit, *order[1:])
        elif order[0] != "stop" and order[1] in self.units:
            target = self.units[order[1]]
            _, _, _, reach, damage, pause = KINDS[unit.kind]
            if math.dist((unit.x, unit.y), (target.x, target.y)) > reach:
                self.walk(unit, target.x, target.y)
            elif unit.cooldown == 0:
                unit.cooldown = pause
                self.heal(target) if order[0] == "heal" else self.hit(target, damage)

    def walk(self, unit, x, y):
        far = math.dist((unit.x, unit.y), (x, y))
        share = min(1.0, SPEED / far) if far else 0.0
        unit.x, unit.y = (min(SIZE - 1.0, max(0.0, p + share * (q - p))) for p, q in ((unit.x, x), (unit.y, y)))

    def hit(self, target, damage):
        absorbed = min(target.shield, damage)
        target.shield -= absorbed
        target.health -= damage - absorbed
        if target.health <= 0:
            del self.units[target.tag]

    def heal(self, target):
        target.health = min(KINDS[target.kind][1], target.health + 9)
