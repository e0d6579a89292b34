"""Run folders for pages: three methods with curves, victories and diagnostics, one of them with hostile names."""

from tests.report.finished_runs import write_run
from tools.results.cells import Row
from vgm2p.report.runs import load_runs
from vgm2p.report.variants import name_variants
from vgm2p.run.folder import RunFolder, write_json

EXPERIMENT = "recorded_3hopper_medium"
HOSTILE = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=2"> ${hacked} javascript:hacked'
WAYS = [1.0, 0.0]
BEFORE = {0: 0.1, 5000: 0.6}  # update -> share of the last returns
FILM = b"\0\0\0\x18ftypisom" + bytes(200)


def row(label, *words):
    return Row(label, words, 1, ("optim.lr=1e-3",))


def outcome(level):
    return lambda way, seed, episode: (
        level + 10 * seed + 3 * episode + (20 if way == 0.0 else 0),
        (seed + episode) % 2,
    )


def enrich(folder, level):
    """Add earlier evaluations and a log of diagnostics."""
    log = folder.log_episodes()
    rows = [each for each in log.rows() if each["act_noise"] in ("", "1.0")]
    for update, share in BEFORE.items():
        log.append(
            [{**each, "update": update, "act_noise": "", "return": share * float(each["return"])} for each in rows]
        )
    folder.metrics.unlink()
    folder.log_metrics().append(
        [
            {
                "update": update,
                "seed": seed,
                "policy_loss": level / update,
                "critic_loss": 2.0 - update / 4000,
                "q_mean": seed,
            }
            for update in range(500, 10_001, 500)
            for seed in range(5)
        ]
    )


def change(folder, results=None, manifest=None):
    """Change entries of results.json and manifest.json."""
    write_json(folder.results, folder.read_results() | (results or {}))
    write_json(folder.manifest, folder.read_manifest() | (manifest or {}))


def write_runs(place, hostile=False):
    """Write the folders of three methods below `place`, and return them."""
    for label, level, words in (
        ("vgm2p", 300.0, ["algo=vgm2p"]),
        ("bc_flow", 100.0, ["algo=bc_flow"]),
        ("third", 200.0, ["algo=bc_flow"]),
    ):
        write_run(place, EXPERIMENT, row(label, *words), WAYS, outcome(level))
        enrich(RunFolder(place / EXPERIMENT / label), level)
    folders = {label: RunFolder(place / EXPERIMENT / label) for label in ("vgm2p", "bc_flow", "third")}
    config = folders["vgm2p"].read_manifest()["config"] | {"overrides": ["algo=vgm2p", "label=my run", "resume=auto"]}
    change(folders["vgm2p"], manifest={"config": config})
    if hostile:
        third = folders["third"]
        manifest = third.read_manifest()
        manifest["config"]["overrides"] = [f"label={HOSTILE}", "\x1b[31m", "seed=1"]
        data = manifest["data"] | {"name": HOSTILE}
        versions = {HOSTILE: HOSTILE, **manifest["versions"]}
        spec = {"env_id": HOSTILE, "n_agents": 3}
        change(
            third,
            {"algorithm": HOSTILE},
            manifest | {"data": data, "versions": versions, "spec": spec, "device": HOSTILE},
        )
    return folders


def add_film(folder, evaluation, content=FILM, episode=0, returned=5.0, update=10_000):
    """Write a video and its evaluation."""
    place = folder.evaluations / evaluation
    place.mkdir(parents=True)
    (place / f"episode{episode}.mp4").write_bytes(content)
    lines = [
        "update,seed,episode,act_noise,return",
        *(f"{update},{seed},{episode},1.0,{returned + seed}" for seed in (0, 1)),
    ]
    (place / "episodes.csv").write_text("\n".join(lines) + "\n")
    write_json(place / "results.json", {"updates": update})


def loaded(place):
    """Return the runs below `place`, as `report` shows them."""
    runs, notices = load_runs([place / "*" / "*"])
    assert not notices
    return name_variants(runs)[0]
