"""Policies on the hub, through the real client: pushed in one commit, fetched pinned and verified, hostile ones refused."""

import json
import os
import pickle
import re
import shutil
from hashlib import sha256

import pytest

from tests.cli.model_hub import TOKEN, ModelHub, Server
from tests.run import zygote
from vgm2p.errors import ConfigError, DataError
from vgm2p.execution.trained import load
from vgm2p.run.exported import DOCUMENT, WEIGHTS

REPO = "someone/policy"


@pytest.fixture
def hub():
    return ModelHub()


@pytest.fixture
def place(tmp_path, hub):
    """A working folder, and the address of a hub that is stopped at the end."""
    server = Server(hub)
    yield tmp_path, server
    server.close()


def run(place, *words, patch="", **variables):
    folder, server = place
    env = {
        **os.environ,
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2",
        "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        **variables,
    }
    env.pop("HF_TOKEN", None)
    return zygote.run([*words], folder, {**env, **variables}, folder, patch)


def evaluated(place, *words, **options):
    return run(place, "evaluate", f"hub={REPO}", "episodes=1", *words, **options)


def refused(done, code, says):
    assert done.returncode == code, done.stdout + done.stderr
    lines = [line for line in done.stderr.strip().splitlines() if line.startswith("vgm2p: ")]
    assert len(lines) == 1 and says in lines[0] and len(lines[0]) <= 210, done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """The files of an export of a run (weights alone: the fastest)."""
    out = tmp_path_factory.mktemp("exported") / "export"
    words = ["export", f"run={trained / 'bc_gaussian'}", "formats=safetensors", f"out={out}"]
    done = zygote.run(words, out.parent, dict(os.environ), out.parent)
    assert done.returncode == 0, done.stderr
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_push_is_one_commit_with_a_card_and_without_the_token(place, hub, trained):
    folder, server = place
    hub.put(REPO, {".gitattributes": b"", "agent7.onnx": b"of an earlier export", "notes.txt": b"the owner's own"})
    source = folder / "run"
    shutil.copytree(trained / "bc_gaussian", source)
    words = ("export", f"run={source}", "formats=safetensors", "out=mine", f"hub={REPO}")
    refused(run(place, *words), 69, "the hub refuses someone/policy")
    refused(run(place, *words, HF_TOKEN="hf_wrong"), 69, "set HF_TOKEN to a token that may write")
    refused(run(place, *words, HF_TOKEN=TOKEN, HF_HUB_OFFLINE="1"), 69, "HF_HUB_OFFLINE is set")
    assert len(hub.commits[REPO]) == 1
    done = run(place, *words, "formats=[safetensors,torch]", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert f"pushed to    {server.address}/{REPO}" in done.stdout
    commit, files = hub.at(REPO)
    assert len(hub.commits[REPO]) == 2 and commit in done.stdout
    names = {".gitattributes", "notes.txt", DOCUMENT, "README.md", "policy.pt2", WEIGHTS}
    assert set(files) == names
    card = files["README.md"].decode()
    results = json.loads((source / "results.json").read_text())
    document = json.loads(files[DOCUMENT])
    assert card.startswith("---\nlibrary_name: vgm2p\n") and f'vgm2p.load("hub:{REPO}")' in card
    assert results["data_digest"] in card and f"vgm2p evaluate hub={REPO}" in card and "\nvgm2p fit " in card
    assert f"| none (own) | {results['return_mean']:.2f}"[:18] in card.replace("  ", " ")
    for name, facts in document["files"].items():
        assert facts == {"sha256": sha256(files[name]).hexdigest(), "size": len(files[name])}
    everything = [*files.values(), done.stdout.encode(), done.stderr.encode()]
    everything += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not [data for data in everything if TOKEN.encode() in data]
    assert not [name for name, data in files.items() if str(folder).encode() in data or str(trained).encode() in data]
    push = f"vgm2p.export_policy({str(source)!r}, formats='safetensors', out='again', hub={REPO!r})"
    bars = f"import vgm2p; from huggingface_hub.utils import are_progress_bars_disabled as off; {push}; print('OFF', off())"
    assert "OFF False" in run(place, "--version", patch=bars, HF_TOKEN=TOKEN).stdout
    public = run(place, *words, "private=true", HF_TOKEN=TOKEN)
    refused(public, 2, "exists and is public")
    done = run(place, *words[:-1], "hub=someone/hidden", "private=true", HF_TOKEN=TOKEN)
    assert done.returncode == 0 and hub.private == {"someone/hidden"}, done.stderr


def test_a_policy_is_fetched_pinned_recorded_and_kept(place, hub, exported):
    folder, _ = place
    commit = hub.put(REPO, exported)
    done = evaluated(place)
    assert done.returncode == 0, done.stderr
    name = f"hub:{REPO}@{commit}"
    assert name in done.stdout
    (results,) = folder.glob(f"runs/hub/someone--policy-{commit[:12]}/evaluations/*/results.json")
    assert json.loads(results.read_text())["checkpoint"] == name
    fetched = {line for line in hub.served if "/resolve/" in line and line.startswith("GET")}
    assert {line.rpartition("/")[2] for line in fetched} == {DOCUMENT, WEIGHTS}
    load = f"import vgm2p; print('LOADED', vgm2p.load('hub:{REPO}').origin)"
    newer = hub.put(REPO, exported)
    assert f"LOADED hub:{REPO}@{newer}" in run(place, "--version", patch=load).stdout
    asked = len(hub.served)
    pinned = load.replace(f"hub:{REPO}", f"hub:{REPO}@{commit}")
    assert f"LOADED {name}" in run(place, "--version", patch=pinned).stdout
    assert len(hub.served) == asked  # a commit never changes: the cache answers
    for variables in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
        done = run(place, "--version", patch=load, **variables)
        assert f"LOADED hub:{REPO}@{newer}" in done.stdout and "the copy in the cache is used" in done.stdout, (
            done.stderr
        )


@pytest.mark.parametrize(
    "variables", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}], ids=["forbidden", "none"]
)
def test_without_internet_and_without_a_copy_there_is_one_line(place, variables):
    done = evaluated(place, **variables)
    refused(done, 66 if "HF_HUB_OFFLINE" in variables else 69, "look at the connection")


def changed(exported, **entries):
    """Return an export in which entries of export.json are replaced; `config__x` is an entry of the configuration."""
    document = json.loads(exported[DOCUMENT])
    for name, value in entries.items():
        node = document["vgm2p"]["config"] if name.startswith("config__") else document
        node[name.removeprefix("config__")] = value
    return {**exported, DOCUMENT: json.dumps(document).encode()}


class Harm:
    def __reduce__(self):
        return os.system, ("touch harm",)


def as_pickle(exported):
    weights = pickle.dumps(Harm())
    return {**changed(exported, files=facts(weights)), WEIGHTS: weights}


def facts(weights, name=WEIGHTS):
    return {name: {"sha256": sha256(weights).hexdigest(), "size": len(weights)}}


HOSTILE = {
    "pickle": (as_pickle, 65, "no safetensors"),
    "changed weights": (lambda e: {**e, WEIGHTS: e[WEIGHTS][:-1] + bytes([e[WEIGHTS][-1] ^ 1])}, 65, "SHA-256"),
    "another size": (lambda e: {**e, WEIGHTS: e[WEIGHTS] + b"more"}, 65, "bytes where"),
    "path": (lambda e: changed(e, files={**facts(e[WEIGHTS]), **facts(b"", "../../.bashrc")}), 65, "in a wrong way"),
    "no weights": (lambda e: {DOCUMENT: e[DOCUMENT]}, 66, "the hub has no policy.safetensors"),
    "no export": (lambda e: {"README.md": b""}, 66, "the hub has no export.json"),
    "huge": (lambda e: {**e, DOCUMENT: b" " * (1 << 23)}, 65, "bytes where at most"),
    "deep": (lambda e: {**e, DOCUMENT: b"[" * 100_000}, 65, "damaged (RecursionError)"),
    "no json": (lambda e: {**e, DOCUMENT: b"\x80\x04."}, 65, "damaged"),
    "class": (
        lambda e: changed(e, config__algo={"_target_": "os.system", "command": "touch harm"}),
        65,
        "names this class",
    ),
    "class of the environment": (
        lambda e: changed(e, config__env={"_target_": "os.system", "command": "touch harm"}),
        65,
        "names this class",
    ),
    "module": (
        lambda e: changed(e, config__env={"_target_": "vgm2p.envs.mujoco.MAMuJoCo", "env_id": "harm:x"}),
        65,
        "env_id",
    ),
}


QUICK = ("huge",)  # with the hub; all the others that need no hub are tested as folders, too
SERVED = ("another size", "no weights", "no export", "huge")  # these say something else of a folder


@pytest.mark.parametrize("what", [what for what in HOSTILE if what not in SERVED])
def test_a_hostile_folder_executes_nothing(what, tmp_path, exported, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harm.py").write_text("open('harm', 'w')")
    change, _, says = HOSTILE[what]
    (tmp_path / "export").mkdir()
    for name, data in change(exported).items():
        (tmp_path / "export" / name).write_bytes(data)
    with pytest.raises(DataError, match=re.escape(says)):
        load("export")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("what", [pytest.param(w, marks=() if w in QUICK else pytest.mark.slow) for w in HOSTILE])
def test_a_hostile_repository_executes_nothing(what, place, hub, exported):
    folder, _ = place
    change, code, says = HOSTILE[what]
    hub.put(REPO, change(exported))
    (folder / "harm.py").write_text("open('harm', 'w')")
    refused(evaluated(place), code, says)
    assert not (folder / "harm").exists() and not (folder / "runs").exists()


@pytest.mark.slow
def test_a_copy_in_the_cache_that_was_damaged_is_fetched_again(place, hub, exported):
    folder, _ = place
    hub.put(REPO, exported)
    load = f"import vgm2p; print('LOADED', vgm2p.load('hub:{REPO}'))"
    assert "LOADED" in run(place, "--version", patch=load).stdout
    (weights,) = folder.glob(f"hf/**/snapshots/*/{WEIGHTS}")
    weights.resolve().write_bytes(b"damaged")
    assert "LOADED" in run(place, "--version", patch=load).stdout


@pytest.mark.parametrize("name", ["policy", "a/b/c", "../x", "a/b@../c", "a/b@"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="hub takes <owner>/<name>"):
        load(f"hub:{name}")
