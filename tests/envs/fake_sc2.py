"""A stand-in for StarCraft II: speaks its protocol to the unmodified smacv2 and pysc2, plays a small battle, and fails
on order. `install(folder, plan)` makes a folder for SC2PATH; the server is this module, started by pysc2 as the game.
"""

import base64
import fcntl
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path

from tests.envs.battle import FIRST_RL_TYPE, KINDS, MAPS, RL_TYPES, SIZE, World

BUILD = 75689
LINES = 60  # printed before a crash
MOVE, ATTACK, HEAL = 16, 23, 386


def install(folder: Path, **plan) -> Path:
    """Make `folder` a place for SC2PATH and return it.

    `plan`: enemy="idle" (does not fight), regain=<shield per game loop>, delay=<seconds per action>, faults={"every": 10, "kinds": [...], "at": 3}
    (of every tenth episode, at its third action) or faults={"numbers": [3, 5], ...} (of these episodes),
    launch={"1": kind} (of the first start); kinds: crash, kill, hang, garbage, error; of starts: port, exit, hang.
    """
    program = folder / f"Versions/Base{BUILD}/SC2_x64"
    program.parent.mkdir(parents=True)
    root = Path(__file__).resolve().parents[2]
    program.write_text(f'#!/bin/sh\nexec env PYTHONPATH="{root}:$PYTHONPATH" {sys.executable} -m {__name__} "$@"\n')
    program.chmod(0o755)
    (folder / "Maps/SMAC_Maps").mkdir(parents=True)
    for name in (*MAPS, "32x32_flat"):
        (folder / f"Maps/SMAC_Maps/{name}.SC2Map").write_bytes(b"map")
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def count(path: Path) -> int:
    """Add one to a number that several processes share, and return it."""
    with open(path, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0) + 1
        file.truncate(0)
        file.write(str(number))
    return number


class Server:
    """Answers requests; see Blizzard's s2client-proto."""

    def __init__(self, pb, home):
        self.pb, self.home, self.plan = pb, home, json.loads((home / "plan.json").read_text())
        self.world, self.status, self.acted, self.fault, self.played = None, pb.launched, 0, None, 0

    def answer(self, request):
        kind = request.WhichOneof("request")
        response = self.pb.Response(id=request.id)
        getattr(self, f"on_{kind}", lambda request, response: None)(getattr(request, kind), response)
        if not response.WhichOneof("response"):
            getattr(response, kind).SetInParent()
        response.status = self.status
        return response

    def on_create_game(self, request, response):
        self.difficulty = next(setup.difficulty for setup in request.player_setup if setup.HasField("difficulty"))
        idle, regain = self.plan.get("enemy") == "idle", self.plan.get("regain", 0.0)
        self.world = World(Path(request.local_map.map_path).stem, idle, regain)
        self.status = self.pb.init_game

    def on_join_game(self, request, response):
        response.join_game.player_id = 1
        self.status = self.pb.in_game

    def on_game_info(self, request, response):
        raw = response.game_info.start_raw
        raw.map_size.x = raw.map_size.y = raw.playable_area.p1.x = raw.playable_area.p1.y = SIZE
        raw.playable_area.p0.x = raw.playable_area.p0.y = 0
        for image, bits, byte in ((raw.pathing_grid, 1, b"\xff"), (raw.terrain_height, 8, b"\x7f")):
            image.bits_per_pixel, image.data = bits, byte * (SIZE * SIZE * bits // 8)

    def on_data(self, request, response):
        for number in range(FIRST_RL_TYPE + len(RL_TYPES)):
            response.data.units.add(unit_id=number)

    def on_save_replay(self, request, response):
        response.save_replay.data = f"replay of {self.played} episodes".encode()

    def on_debug(self, request, response):
        for command in request.debug:
            self.world.kill(command.kill_unit.tag)
            for new in [command.create_unit] if command.HasField("create_unit") else []:
                self.world.create(new.unit_type, new.owner, new.pos.x, new.pos.y)

    def on_action(self, request, response):
        if self.world.fresh:
            self.world.fresh, self.acted, self.fault = False, 0, self.ordered()
            self.played += 1
        self.acted += 1
        if self.fault and self.acted == self.plan["faults"]["at"]:
            fail(self.fault, response)
        for action in request.actions:
            command = action.action_raw.unit_command
            point = command.target_world_space_pos
            order = {
                MOVE: ("move", point.x, point.y),
                ATTACK: ("attack", command.target_unit_tag),
                HEAL: ("heal", command.target_unit_tag),
            }.get(command.ability_id, ("stop",))
            for tag in command.unit_tags:
                self.world.units[tag].order = order

    def ordered(self):
        """Return how this episode is to fail, or None."""
        faults, number = self.plan.get("faults"), count(self.home / "episodes")
        if not faults or (number not in faults["numbers"] if "numbers" in faults else number % faults["every"]):
            return None
        return faults["kinds"][number // faults.get("every", 1) % len(faults["kinds"])]

    def on_step(self, request, response):
        if request.count > 2:  # an action of the agents, not a wait of smacv2
            (self.home / "asked").write_text(json.dumps([self.difficulty, request.count]))
            time.sleep(self.plan.get("delay", 0.0))
        for _ in range(request.count):
            self.world.loop()

    def on_observation(self, request, response):
        for unit in self.world.units.values():
            _, health, shield, *_ = KINDS[unit.kind]
            shown = response.observation.observation.raw_data.units.add(
                tag=unit.tag,
                unit_type=unit.type,
                owner=unit.owner,
                health=unit.health,
                health_max=health,
                shield=unit.shield,
                shield_max=shield,
                weapon_cooldown=unit.cooldown,
                energy=50.0,
            )
            shown.pos.x, shown.pos.y, shown.pos.z = unit.x, unit.y, 0.0


def fail(kind, response):
    if kind == "hang":
        time.sleep(3600)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "error":
        response.error.append("a bug of the game")
    elif kind == "garbage":
        raise ConnectionAbortedError  # `main` cuts the connection in the middle of a frame
    else:
        for line in range(LINES):
            print("the game's line", line, flush=True)
        os._exit(1)


def receive(stream):
    """Return the payload of the next frame, None at the end."""
    head = stream.read(2)
    if len(head) < 2 or head[0] & 15 == 8:
        return None
    length = head[1] & 127
    if length > 125:
        length = struct.unpack(">H" if length == 126 else ">Q", stream.read(2 if length == 126 else 8))[0]
    mask, body = stream.read(4), stream.read(length)
    return bytes(b ^ mask[i % 4] for i, b in enumerate(body))


def send(connection, payload):
    size = len(payload)
    head = struct.pack(">BB", 130, size) if size < 126 else struct.pack(">BBH", 130, 126, size)
    connection.sendall((head if size < 65536 else struct.pack(">BBQ", 130, 127, size)) + payload)


def shake_hands(connection, stream):
    """Answer the upgrade to a websocket [RFC 6455]."""
    lines = iter(lambda: stream.readline().strip().decode(), "")
    key = next(line.split(": ")[1] for line in list(lines) if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()
    connection.sendall(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )


def listen(port, home):
    """Return the connection; fails as the plan says for this start."""
    order = json.loads((home / "plan.json").read_text()).get("launch", {}).get(str(count(home / "launches")))
    if order == "exit":
        sys.exit("cannot start")
    if order == "hang":
        time.sleep(3600)
    other = socket.create_server(("127.0.0.1", port)) if order == "port" else None
    with socket.create_server(("127.0.0.1", port)) as server:
        return server.accept()[0], other


def main():
    from s2clientprotocol import sc2api_pb2

    words = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
    home = Path(words["-dataDir"])
    connection, _ = listen(int(words["-port"]), home)
    stream, server = connection.makefile("rb"), Server(sc2api_pb2, home)
    shake_hands(connection, stream)
    while (payload := receive(stream)) is not None:
        request = sc2api_pb2.Request.FromString(payload)
        if request.WhichOneof("request") == "quit":
            return
        try:
            send(connection, server.answer(request).SerializeToString())
        except ConnectionAbortedError:
            connection.sendall(b"\x82\x7e\xff\xff half a frame")
            return


if __name__ == "__main__":
    main()
