"""`make test-errors`: wrong command lines and files, each answered by one line, an exit code, and nothing lost."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from datamodules.recorded import Bundled
from datamodules.schema import Columns, read, write
from tests.support import RECORDED, small_columns
from vgm2p.cli import main

TINY = [
    "updates=4",
    "eval_every=4",
    "eval_episodes=1",
    "compare=[]",
    "algo.width=8",
    "algo.depth=1",
    "data.batch_size=4",
    "evaluate=none",
    "logger.tensorboard=false",
    "callbacks.plot=false",
    "trainer.threads=1",
]


@dataclass(frozen=True)
class Wrong:
    """A command that must fail: what is wrong, its words for a scratch folder, exit code, and a part of the line.

    `keeps` names the files that must still be there, unchanged.
    """

    what: str
    words: Callable[[Path], list[str]]
    code: int
    says: str
    keeps: str = "**/*"


def answer(words: list[str]) -> tuple[int, str]:
    """Run the program in this process; return exit code and standard error."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as stop:  # Hydra's --help and friends
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc(file=errors)
            code = -1
    return code, errors.getvalue()


def judge(case: Wrong, scratch: Path) -> tuple[int, str, str]:
    """Return (exit code, line, complaint); no complaint means that the answer is as it should be."""
    variables = dict(os.environ)
    words = case.words(scratch)
    before = snapshot(scratch, case.keeps)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    code, text = answer(words)
    os.environ.clear()
    os.environ.update(variables)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))
    lines = text.strip().splitlines()
    line = lines[-1] if lines else ""
    complaint = ""
    if code != case.code:
        complaint = f"exit {code}, not {case.code}"
    elif len(lines) != 1 or not line.startswith("vgm2p: "):
        complaint = f"{len(lines)} lines"
    elif len(line) > 207 or "Traceback" in text or case.says not in line:
        complaint = "line too long" if len(line) > 207 else f"does not say '{case.says}'"
    elif any(snapshot(scratch, case.keeps).get(path) != data for path, data in before.items()):
        complaint = "a file was changed or lost"
    return code, line, complaint


def snapshot(folder: Path, keeps: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(keeps) if path.is_file() and path.name != ".lock"}


def fit(*words: str) -> Callable[[Path], list[str]]:
    return lambda scratch: ["fit", *TINY, f"out={scratch / 'run'}", *words]


def command(*words: str) -> Callable[[Path], list[str]]:
    return lambda scratch: list(words)


def offline(*words: str) -> Callable[[Path], list[str]]:
    """A command where the hub must not be asked."""

    def prepare(scratch: Path) -> list[str]:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return [*words, f"out={scratch / 'run'}", f"data.cache={scratch / 'cache'}", f"data.root={scratch / 'data'}"]

    return prepare


def without_game(*words: str) -> Callable[[Path], list[str]]:
    """A run where StarCraft II is not."""

    def prepare(scratch: Path) -> list[str]:
        os.environ["SC2PATH"] = str(scratch / "nowhere")
        return fit(*words)(scratch)

    return prepare


# --- files --------------------------------------------------------------------------------------------------------------


def dataset(change: Callable[[Path], None], *words: str) -> Callable[[Path], list[str]]:
    """A run on a damaged copy of the bundled data."""

    def prepare(scratch: Path) -> list[str]:
        path = scratch / "set.h5"
        change(path)
        source = ["data.source._target_=datamodules.recorded.Files", f"+data.source.paths=[{path}]"]
        return ["fit", *TINY, f"out={scratch / 'run'}", *source, *words]

    return prepare


def copy_of_bundled(path: Path) -> None:
    shutil.copyfile(Bundled().resolve()[0], path)


def truncated(share: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = Bundled().resolve()[0].read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return change


def flipped(path: Path) -> None:
    data = bytearray(Bundled().resolve()[0].read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def edited(edit: Callable[[Columns], None]) -> Callable[[Path], None]:
    """A well-formed file with correct hashes whose content breaks a rule."""

    def change(path: Path) -> None:
        columns = small_columns()
        edit(columns)
        write(path, columns)

    return change


def set_step(name: str, index, value) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        columns.steps[name][index] = value

    return edit


def drop(name: str) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        del columns.steps[name]

    return edit


def retype(name: str, dtype) -> Callable[[Columns], None]:
    def edit(columns: Columns) -> None:
        columns.steps[name] = columns.steps[name].astype(dtype)

    return edit


def shorten(columns: Columns) -> None:
    columns.steps["rewards"] = columns.steps["rewards"][:-1]


def break_episodes(columns: Columns) -> None:
    columns.episodes["start"][1] += 1


def wrong_agents(columns: Columns) -> None:
    columns.attributes["n_agents"] = 3


def newer(path: Path) -> None:
    write(path, small_columns())
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 99


def incomplete(path: Path) -> None:
    write(path, small_columns())
    with h5py.File(path, "a") as file:
        del file.attrs["complete"]


def changed_attribute(path: Path) -> None:
    write(path, small_columns())
    with h5py.File(path, "a") as file:
        file.attrs["episode_limit"] = 11


def no_final_observation(columns: Columns) -> None:
    keep = columns.steps["has_action"].astype(bool)
    columns.steps = {name: array[keep] for name, array in columns.steps.items()}
    columns.episodes["rows"] = columns.episodes["length"].copy()
    columns.episodes["start"] = (np.cumsum(columns.episodes["rows"]) - columns.episodes["rows"]).astype(np.int64)


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3)


def shortened_view(path: Path) -> None:
    """Correct content, other task than the environment's."""
    columns = read(Bundled().resolve()[0], verify="never")
    columns.attributes = {**columns.attributes, "env_id": "HalfCheetah-v4"}
    columns.attributes.pop("attributes_sha256")
    columns.attributes.pop("complete")
    write(path, columns)


# --- checkpoints and folders --------------------------------------------------------------------------------------------


def with_run(change: Callable[[Path], None], *words: str) -> Callable[[Path], list[str]]:
    """A command about a finished run that something was done to; `{run}` stands for its folder."""

    def prepare(scratch: Path) -> list[str]:
        run = scratch / "run"
        code, text = answer(["fit", *TINY, f"out={run}"])
        assert code == 0, text
        change(run)
        return [word.format(run=run) for word in words]

    return prepare


def nothing(run: Path) -> None:
    """Leave the run as it is."""


def checkpoint(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("*.ckpt"))[-1]


def flip_checkpoint(run: Path) -> None:
    data = bytearray(checkpoint(run).read_bytes())
    data[len(data) // 3] ^= 16
    checkpoint(run).write_bytes(data)


def cut_checkpoint(run: Path) -> None:
    checkpoint(run).write_bytes(checkpoint(run).read_bytes()[:1000])


def text_checkpoint(run: Path) -> None:
    checkpoint(run).write_text("hello")
    (run / "checkpoints" / (checkpoint(run).name + ".sha256")).unlink()


def other_weights(run: Path) -> None:
    """A checkpoint whose weights belong to another algorithm."""
    import torch

    content = torch.load(checkpoint(run), weights_only=True)
    content["vgm2p"]["config"]["algo"] = {"_target_": "vgm2p.algos.bc_flow.BCFlow", "width": 8, "depth": 1}
    torch.save(content, checkpoint(run))
    (run / "checkpoints" / (checkpoint(run).name + ".sha256")).unlink()


def foreign_checkpoint(run: Path) -> None:
    import torch

    torch.save({"state_dict": {}}, checkpoint(run))
    (run / "checkpoints" / (checkpoint(run).name + ".sha256")).unlink()


def cut_manifest(run: Path) -> None:
    (run / "manifest.json").write_text("{")


def occupied(scratch: Path) -> list[str]:
    run = scratch / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("mine")
    return ["fit", *TINY, f"out={run}"]


def foreign_results(scratch: Path) -> list[str]:
    run = scratch / "run"
    run.mkdir()
    (run / "results.json").write_text("{}")
    return ["fit", *TINY, f"out={run}"]


def file_in_the_way(scratch: Path) -> list[str]:
    (scratch / "file").write_text("x")
    return ["fit", *TINY, f"out={scratch / 'file' / 'run'}"]


def locked(scratch: Path) -> list[str]:
    import json
    import os
    import socket

    import psutil

    run = scratch / "run"
    run.mkdir()
    mine = {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}
    (run / ".lock").write_text(json.dumps(mine))
    return ["fit", *TINY, f"out={run}"]


def full_disk(scratch: Path) -> list[str]:
    """A run whose second save meets a disk that takes no more: here a limit on the size of files."""
    run = scratch / "run"
    code, text = answer(["fit", *TINY, f"out={run}"])
    assert code == 0, text
    room = checkpoint(run).stat().st_size // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    return ["fit", *TINY, f"out={run}", "updates=8"]


CASES = [
    Wrong("unknown command", command("fitt"), 2, "did you mean 'fit'"),
    Wrong("unknown algorithm", fit("algo=vgm3p"), 2, "did you mean 'vgm2p'"),
    Wrong("unknown experiment", fit("experiment=recorded_6halfchetah_medium"), 2, "recorded_6halfcheetah_medium"),
    Wrong("unknown dataset", fit("data=recorded_hopper"), 2, "unknown data"),
    Wrong("unknown environment", fit("env=mamujoco/7halfcheetah"), 2, "6halfcheetah"),
    Wrong("misspelt top-level key", fit("updats=3"), 2, "did you mean 'updates'"),
    Wrong("misspelt algorithm key", fit("algo.omga=3"), 2, "did you mean 'algo.omega'"),
    Wrong("misspelt data key", fit("data.batchsize=3"), 2, "did you mean 'data.batch_size'"),
    Wrong("misspelt key appended with +", fit("+algo.omga=3"), 2, "did you mean 'omega'"),
    Wrong("key of another algorithm", fit("algo=bc_flow", "+algo.omega=3"), 2, "unknown key 'algo.omega'"),
    Wrong("key without meaning", fit("algo=vgm2p_fm", "algo.adaptive_power=1"), 2, "belongs to MeanFlow"),
    Wrong("unknown switch value", fit("algo.mixer=max"), 2, "mixer"),
    Wrong("unknown advantage", fit("algo.advantage=teams"), 2, "did you mean 'team'"),
    Wrong("unknown law of times", fit("algo.times.law=normal"), 2, "logit_normal"),
    Wrong("text for a number", fit("algo.width=wide"), 2, "algo.width"),
    Wrong("zero width", fit("algo.width=0"), 2, "algo.width"),
    Wrong("negative learning rate", fit("algo.lr=-1"), 2, "algo.lr"),
    Wrong("number for a switch", fit("algo.act_noise_shared=3"), 2, "algo.act_noise_shared"),
    Wrong("empty batch", fit("data.batch_size=0"), 2, "data.batch_size"),
    Wrong("negative updates", fit("updates=-1"), 2, "updates must be"),
    Wrong("fractional interval", fit("eval_every=2.5"), 2, "eval_every must be"),
    Wrong("zero seeds", fit("seeds=0"), 2, "seeds must be"),
    Wrong("text as seed", fit("seed=one"), 2, "seed must be"),
    Wrong("unbalanced bracket", fit("compare=[a"), 2, "compare"),
    Wrong("Lightning's wrong clock", fit("+trainer.max_steps=10"), 2, "use updates"),
    Wrong("several devices", fit("trainer.devices=2"), 2, "one run uses one device"),
    Wrong("float16 on a CPU", fit("trainer.precision=16-mixed"), 2, "CUDA only"),
    Wrong("unknown precision", fit("trainer.precision=64"), 2, "32-true"),
    Wrong("no CUDA", fit("trainer.accelerator=cuda"), 2, "no CUDA device"),
    Wrong("unknown verify", fit("data.verify=maybe"), 2, "data.verify"),
    Wrong("memory that is no size", fit("data.max_resident=plenty"), 2, "4GiB or 500MB"),
    Wrong("capture of mapped data", fit("data.max_resident=1", "trainer.capture=true"), 2, "trainer.capture"),
    Wrong("unknown view", fit("data.view=omega"), 2, "use raw_onehot or omiga"),
    Wrong("unknown timeouts", fit("data.timeouts=boot"), 2, "did you mean 'bootstrap'"),
    Wrong("unknown obs_norm", fit("data.obs_norm=yes"), 2, "obs_norm"),
    Wrong("missing recording", fit("data=recorded_3hopper_medium", "data.root=/nowhere"), 66, "data.root"),
    Wrong("data of another robot", lambda s: [*fit("evaluate=auto", "env=mamujoco/3hopper")(s)], 2, "do not match"),
    Wrong("data of another version", dataset(shortened_view, "evaluate=auto"), 2, "env_id"),
    Wrong("unknown robot", fit("evaluate=auto", "env.env_id=Cheetah-v5"), 2, "Cheetah"),
    Wrong("actuators that do not divide", fit("evaluate=auto", "env.n_agents=4"), 2, "4"),
    Wrong("missing dataset file", dataset(lambda path: None), 66, "no such dataset"),
    Wrong("empty dataset", dataset(lambda path: path.write_bytes(b"")), 65, "empty"),
    Wrong("text as dataset", dataset(lambda path: path.write_text("x" * 999)), 65, "cannot be read"),
    Wrong("dataset cut at 30 %", dataset(truncated(0.3)), 65, "cannot be read"),
    Wrong("dataset cut at 99.9 %", dataset(truncated(0.999)), 65, "cannot be read"),
    Wrong("dataset with a flipped bit", dataset(flipped), 65, "set.h5"),
    Wrong("HDF5 of another program", dataset(foreign_hdf5), 65, "not in our layout"),
    Wrong("recording given as dataset", lambda s: dataset(lambda p: shutil.copyfile(
        RECORDED / "hopper-medium.hdf5", p) and None)(s), 65, "not in our layout"),
    Wrong("newer layout", dataset(newer), 65, "layout version 99"),
    Wrong("unfinished conversion", dataset(incomplete), 65, "incomplete"),
    Wrong("changed attribute", dataset(changed_attribute), 65, "attributes differ"),
    Wrong("missing column", dataset(edited(drop("rewards"))), 65, "'rewards' is missing"),
    Wrong("wrong type", dataset(edited(retype("rewards", np.float64))), 65, "float64"),
    Wrong("unequal lengths", dataset(edited(shorten)), 65, "unequal"),
    Wrong("NaN reward", dataset(edited(set_step("rewards", 2, np.nan))), 65, "NaN"),
    Wrong("infinite observation", dataset(edited(set_step("robot_observation", 1, np.inf))), 65, "infinity"),
    Wrong("action out of range", dataset(edited(set_step("actions", 0, 1.5))), 65, "outside [-1, 1]"),
    Wrong("broken episode boundaries", dataset(edited(break_episodes)), 65, "boundaries"),
    Wrong("end flag inside an episode", dataset(edited(set_step("terminal", 0, 1))), 65, "inside an episode"),
    Wrong("wrong agent count", dataset(edited(wrong_agents)), 65, "actions have shape"),
    Wrong("no final observations", dataset(edited(no_final_observation)), 2, "data.timeouts=bootstrap"),
    Wrong("folder with other things", occupied, 2, "thesis.txt"),
    Wrong("folder that cannot be written", fit("out=/proc/run"), 74, "/proc/run"),
    Wrong("disk full in a save", full_disk, 74, "previous checkpoint", "run/checkpoints/*"),
    Wrong("file in the way", file_in_the_way, 74, "file"),
    Wrong("second run in one folder", locked, 74, "used by process"),
    Wrong("resume=no on a run", with_run(nothing, "fit", *TINY, "out={run}", "resume=no"), 2, "resume=no"),
    Wrong("changed training key", with_run(nothing, "fit", *TINY, "out={run}", "algo.lr=1"), 2, "algo.lr: 0.001 -> 1"),
    Wrong("changed key, resume=<run>", with_run(nothing, "fit", "resume={run}", "data.batch_size=9"), 2, "4 -> 9"),
    Wrong("other algorithm in the folder", with_run(nothing, "fit", *TINY, "out={run}", "algo=bc_flow"), 2, "other settings"),
    Wrong("fewer updates than there are", with_run(nothing, "fit", *TINY, "out={run}", "updates=2"), 2, "already has 4"),
    Wrong("resume of no run", command("fit", "resume=/nowhere"), 66, "/nowhere"),
    Wrong("damaged manifest", with_run(cut_manifest, "fit", *TINY, "out={run}"), 65, "manifest.json"),
    Wrong("evaluate without a run", command("evaluate"), 2, "run=<run folder>"),
    Wrong("evaluate of nothing", command("evaluate", "run=/nowhere"), 66, "/nowhere"),
    Wrong("evaluate with 0 episodes", with_run(nothing, "evaluate", "run={run}", "episodes=0"), 2, "episodes"),
    Wrong("checkpoint with a flipped bit", with_run(flip_checkpoint, "evaluate", "run={run}"), 65, "damaged"),
    Wrong("checkpoint cut off", with_run(cut_checkpoint, "evaluate", "run={run}"), 65, "damaged"),
    Wrong("text as checkpoint", with_run(text_checkpoint, "evaluate", "run={run}"), 65, "not a checkpoint"),
    Wrong("foreign checkpoint", with_run(foreign_checkpoint, "evaluate", "run={run}"), 65, "another program"),
    Wrong("checkpoint of another algorithm", with_run(other_weights, "evaluate", "run={run}"), 65, "do not fit"),
    Wrong("report without runs", command("report"), 2, "run folders"),
    Wrong("report of nothing", command("report", "/nowhere"), 66, "/nowhere"),
    Wrong("unknown data action", command("data", "burn"), 2, "known: check, convert"),
    Wrong("data convert of nothing", command("data", "convert"), 2, "ids, globs or vault folders"),
    Wrong("data fetch of an unknown id", command("data", "fetch", "omiga/mamujoco/3hoper/Medium"), 2, "did you mean"),
    Wrong("data check of what is not converted", command("data", "check", "omiga/mamujoco/2ant/Expert"), 66, "data convert"),
    Wrong("catalogue that is none", command("data", "list", "catalogue=/etc/hostname"), 65, "not a catalogue"),
    Wrong("published data that is not here", offline("fit", "experiment=mamujoco_3hopper_medium", "evaluate=none"), 66, "place it"),
    Wrong("data without a simulator", fit("env=none", "evaluate=auto"), 66, "evaluate=none"),
    Wrong("SMAC without the game", without_game("experiment=smacv1_3m_good", "evaluate=auto"), 66, "evaluate=none"),
    Wrong("unknown SMAC map", fit("env=smac/3m", "env.map_name=3n", "evaluate=auto"), 2, "did you mean '3m'"),
    Wrong("vault folder that is none", fit("data=vault", "data.source.path=/tmp"), 66, "no vault"),
    Wrong("share of no episodes", fit("data.best_share=0.0"), 2, "best_share"),
    Wrong("unknown way to act", fit("eval_acting=[loud]"), 2, "eval_acting"),
    Wrong("results of another program in the folder", foreign_results, 2, "no run folder"),
    Wrong("unknown way to compare", command("report", "runs", "acting=worst"), 2, "own or best"),
    Wrong("collect into nothing", command("collect"), 2, "out="),
    Wrong("collect with unequal lists", command("collect", "noise=[0,1]", "out=x.h5"), 2, "noise has 2 entries"),
    Wrong("collect with no policy", command("collect", "policy=nowhere", "out=x.h5"), 66, "nowhere"),
    Wrong("collect with a heuristic that is not there", command("collect", "policy=heuristic", "out=x.h5"), 2, "brings no heuristic"),
    Wrong("SMAX data that nobody recorded", fit("experiment=smax_3m", "data.root=/no"), 66, "run `vgm2p collect env=smax/3m"),
    Wrong("judges that do not agree", fit("algo=vgm2p_plus", "algo.threshold=value"), 2, "use algo=vgm2p"),
    Wrong("share of nothing", fit("algo=vgm2p_plus", "algo.best_share=0"), 2, "algo.best_share must be above 0"),
    Wrong("judge that is none", fit("algo=vgm2p_plus", "algo.judge=jury"), 2, "algo.judge"),
    Wrong("data show of nothing", command("data", "show", "nowhere.h5"), 66, "nowhere.h5"),
]  # fmt: skip


def table() -> bool:
    """Print what is wrong, exit code and line of every case; return whether all answers are right."""
    good = True
    for case in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            code, line, complaint = judge(case, Path(scratch))
        good &= not complaint
        print(f"{case.what:34} {code:4}  {line}{'   WRONG: ' + complaint if complaint else ''}", flush=True)
    return good


if __name__ == "__main__":
    fine = table()
    print(f"{len(CASES)} cases")
    sys.exit(0 if fine else 1)
