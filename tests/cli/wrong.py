"""`make test-errors`: wrong commands and files. Each gives one line and an exit code, and no file is lost."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.cli.answers import TINY, Wrong, judge
from tests.cli.wrong_datasets import (
    break_episodes,
    changed_attribute,
    dataset,
    drop,
    edited,
    flipped,
    foreign_hdf5,
    incomplete,
    newer,
    retype,
    set_step,
    shorten,
    shortened_view,
    truncated,
    wrong_agents,
)
from tests.cli.wrong_exports import EXPORTS
from tests.cli.wrong_keys import KEYS, command, fit
from tests.cli.wrong_outputs import OUTPUTS
from tests.cli.wrong_reports import REPORTS
from tests.cli.wrong_runs import (
    GAMES,
    cut_checkpoint,
    cut_manifest,
    empty_manifest,
    file_in_the_way,
    flip_checkpoint,
    foreign_checkpoint,
    foreign_results,
    full_disk,
    locked,
    nothing,
    occupied,
    other_weights,
    text_checkpoint,
    with_run,
)
from tests.datamodules.datasets import without_finals
from tests.support import RECORDED


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


ROBOT, OMAR = ("data=recorded_3hopper_medium",), ("algo=omar", "evaluate=auto")
CASES = [
    Wrong("unknown command", command("fitt"), 2, "did you mean 'fit'"),
    Wrong("key without a value", fit("updates"), 2, "write updates=<value>"),
    Wrong("value without a key", fit("=3"), 2, "'=3' is not key=value"),
    Wrong("word that is none", fit("updats"), 2, "did you mean 'updates'"),
    Wrong("option that is none", fit("-x"), 2, "unknown option '-x'"),
    Wrong("several values without -m", fit("seed=1,2"), 2, "or 'seed=[1,2]' for one list"),
    Wrong("number as a file of a group", fit("trainer=3"), 2, "unknown trainer '3'; known: default"),
    Wrong("nothing as a file of a group", fit("algo=null"), 2, "unknown algo 'null'"),
    Wrong("no folder", fit("out="), 2, "out= names no folder"),
    Wrong("resume of no name", fit("resume="), 2, "resume takes auto, no or a run folder"),
    Wrong("launcher that is not installed", fit("-m", "hydra/launcher=mine"), 2, "unknown hydra/launcher 'mine'"),
    Wrong("unknown algorithm", fit("algo=vgm3p"), 2, "did you mean 'vgm2p'"),
    Wrong("unknown experiment", fit("experiment=recorded_6halfchetah_medium"), 2, "recorded_6halfcheetah_medium"),
    Wrong("unknown dataset", fit("data=recorded_hopper"), 2, "unknown data"),
    Wrong("unknown environment", fit("env=mamujoco/7halfcheetah"), 2, "6halfcheetah"),
    Wrong("misspelt top-level key", fit("updats=3"), 2, "did you mean 'updates'"),
    Wrong("misspelt algorithm key", fit("algo.omga=3"), 2, "did you mean 'algo.omega'"),
    Wrong("misspelt data key", fit("data.batchsize=3"), 2, "did you mean 'data.batch_size'"),
    Wrong("misspelt key appended with +", fit("+algo.omga=3"), 2, "did you mean 'omega'"),
    Wrong("key of another algorithm", fit("algo=bc_flow", "+algo.omega=3"), 2, "unknown key 'algo.omega'"),
    Wrong("key without meaning", fit("algo=vgm2p_fm", "algo.times.equal_fraction=0.5"), 2, "is for MeanFlow"),
    Wrong("key of a variant", fit("algo=vgm2p_fm", "algo.adaptive_power=1"), 2, "chosen files of conf/ do not have it"),
    Wrong("unknown switch value", fit("algo=vgm2p", "algo.mixer=max"), 2, "mixer"),
    Wrong("unknown advantage", fit("algo=vgm2p", "algo.advantage=teams"), 2, "must be agent or team"),
    Wrong("unknown law of times", fit("algo.times.law=normal"), 2, "logit_normal"),
    Wrong("text for a number", fit("net.width=wide"), 2, "net.width"),
    Wrong("zero width", fit("net.width=0"), 2, "net.width"),
    Wrong("negative learning rate", fit("optim.lr=-1"), 2, "optim.lr"),
    Wrong("number for a switch", fit("algo.acting.shared=3"), 2, "algo.acting.shared"),
    Wrong("empty batch", fit("data.batch_size=0"), 2, "data.batch_size"),
    Wrong("negative updates", fit("updates=-1"), 2, "updates must be"),
    Wrong("fractional interval", fit("eval_every=2.5"), 2, "eval_every must be"),
    Wrong("zero seeds", fit("seeds=0"), 2, "seeds must be"),
    Wrong("text as seed", fit("seed=one"), 2, "seed must be"),
    Wrong("comparison that is no list", fit("compare=bc_flow"), 2, "compare must be a list"),
    Wrong("comparison with nothing", fit("compare=null"), 2, "compare must be a list"),
    Wrong("unknown comparison", fit("compare=[bc_flo]"), 2, "did you mean 'bc_flow'"),
    Wrong("unbalanced bracket", fit("compare=[a"), 2, "compare"),
    Wrong("Lightning's wrong clock", fit("+trainer.max_steps=10"), 2, "use updates"),
    Wrong("several devices", fit("trainer.devices=3"), 2, "fit -m seed=0,1,2 hydra/launcher=joblib"),
    Wrong("float16 on a CPU", fit("trainer.precision=16-mixed"), 2, "CUDA only"),
    Wrong("TF32 on a CPU", fit("trainer.tf32=true"), 2, "CUDA only"),
    Wrong("unknown precision", fit("trainer.precision=64"), 2, "32-true"),
    Wrong("no CUDA", fit("trainer.accelerator=cuda"), 2, "no CUDA device"),
    Wrong(
        "progress in words", fit("callbacks.progress.seconds=often"), 2, "callbacks.progress.seconds must be a number"
    ),
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
    Wrong(
        "recording given as dataset",
        lambda s: dataset(lambda p: shutil.copyfile(RECORDED / "hopper-medium.hdf5", p) and None)(s),
        65,
        "not in our layout",
    ),
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
    Wrong("no final observations", dataset(edited(without_finals)), 2, "data.timeouts=bootstrap"),
    Wrong("folder with other things", occupied, 2, "thesis.txt"),
    Wrong("folder that cannot be written", fit("out=/proc/run"), 74, "/proc/run"),
    Wrong("disk full in a save", full_disk, 74, "previous checkpoint", "run/checkpoints/*"),
    Wrong("file in the way", file_in_the_way, 74, "file"),
    Wrong("second run in one folder", locked, 74, "used by process"),
    Wrong("resume=no on a run", with_run(nothing, "fit", *TINY, "out={run}", "resume=no"), 2, "use resume=auto"),
    Wrong(
        "changed training key", with_run(nothing, "fit", *TINY, "out={run}", "optim.lr=1"), 2, "optim.lr: 0.001 -> 1"
    ),
    Wrong("changed key, resume=<run>", with_run(nothing, "fit", "resume={run}", "data.batch_size=9"), 2, "4 -> 9"),
    Wrong(
        "other algorithm in the folder",
        with_run(nothing, "fit", *TINY, "out={run}", "algo=bc_flow"),
        2,
        "other settings",
    ),
    Wrong(
        "fewer updates than there are", with_run(nothing, "fit", *TINY, "out={run}", "updates=2"), 2, "already has 4"
    ),
    Wrong("resume of no run", command("fit", "resume=/nowhere"), 66, "/nowhere"),
    Wrong("empty manifest", with_run(empty_manifest, "fit", *TINY, "out={run}"), 65, "has no configuration"),
    Wrong("resume of an empty manifest", with_run(empty_manifest, "fit", "resume={run}"), 65, "manifest.json"),
    Wrong("damaged manifest", with_run(cut_manifest, "fit", *TINY, "out={run}"), 65, "manifest.json"),
    Wrong("evaluate without a run", command("evaluate"), 2, "run=<run folder>"),
    Wrong("evaluate of nothing", command("evaluate", "run=/nowhere"), 66, "/nowhere"),
    Wrong(
        "games in words",
        command("evaluate", "run=/nowhere", "workers=many"),
        2,
        "workers must be a whole number from 1",
    ),
    Wrong(
        "no time to answer", command("evaluate", "run=/nowhere", "timeout=0"), 2, "timeout must be a number of seconds"
    ),
    Wrong("evaluate with 0 episodes", with_run(nothing, "evaluate", "run={run}", "episodes=0"), 2, "episodes"),
    Wrong("checkpoint with a flipped bit", with_run(flip_checkpoint, "evaluate", "run={run}"), 65, "damaged"),
    Wrong("checkpoint cut off", with_run(cut_checkpoint, "evaluate", "run={run}"), 65, "damaged"),
    Wrong("text as checkpoint", with_run(text_checkpoint, "evaluate", "run={run}"), 65, "not a checkpoint"),
    Wrong("foreign checkpoint", with_run(foreign_checkpoint, "evaluate", "run={run}"), 65, "another program"),
    Wrong("checkpoint of another algorithm", with_run(other_weights, "evaluate", "run={run}"), 65, "do not fit"),
    Wrong("unknown data action", command("data", "burn"), 2, "known: check, convert"),
    Wrong("data convert of nothing", command("data", "convert"), 2, "ids, globs or vault folders"),
    Wrong("data fetch of an unknown id", command("data", "fetch", "omiga/mamujoco/3hoper/Medium"), 2, "did you mean"),
    Wrong(
        "data check of what is not converted",
        command("data", "check", "omiga/mamujoco/2ant/Expert"),
        66,
        "data convert",
    ),
    Wrong("catalogue that is none", command("data", "list", "catalogue=/etc/hostname"), 65, "not a catalogue"),
    Wrong(
        "published data that is not here",
        offline("fit", "experiment=mamujoco_3hopper_medium", "evaluate=none"),
        66,
        "place it",
    ),
    Wrong("data without a simulator", fit("env=none", "evaluate=auto"), 66, "evaluate=none"),
    Wrong("SMAC without the game", without_game("experiment=smacv1_3m_good", "evaluate=auto"), 66, "evaluate=none"),
    Wrong(
        "robots, a discrete method",
        fit(*ROBOT, "data.root=/no", "algo=ma_bcq"),
        2,
        "not support the continuous actions",
    ),
    Wrong(
        "SMAC, a continuous method",
        without_game("experiment=smacv1_3m_good", *OMAR),
        2,
        "not support the discrete actions",
    ),
    Wrong("SMAX without JAX, the same", fit("experiment=smax_3m", *OMAR), 2, "of dataset smax_3m_mixed"),
    Wrong(
        "SMAX without data, the same",
        fit("experiment=smax_3m", OMAR[0], "data.root=/no"),
        2,
        "of dataset smax_3m_mixed",
    ),
    Wrong("only env is known", fit("data=files", "data.source.paths=[/x]", "env=smax/3m", *OMAR), 2, "of env=smax/3m"),
    Wrong("protocol that is none", fit("protocol=sorce"), 2, "unknown protocol 'sorce'; did you mean 'source'"),
    Wrong("protocol without settings", fit("protocol=source"), 2, "no settings for algo=vgm2p_plus, only for dof"),
    Wrong("size without effect", fit(OMAR[0], "protocol=source", "net=small"), 2, "set keys instead of the file"),
    Wrong("vault folder that is none", fit("data=vault", "data.source.path=/tmp"), 66, "no vault"),
    Wrong("share of no episodes", fit("data.best_share=0.0"), 2, "best_share"),
    Wrong("unknown way to act", fit("eval_acting=[loud]"), 2, "eval_acting"),
    Wrong("results of another program in the folder", foreign_results, 2, "not a run folder"),
    *EXPORTS,
    Wrong("collect into nothing", command("collect"), 2, "out="),
    Wrong("collect with unequal lists", command("collect", "noise=[0,1]", "out=x.h5"), 2, "noise has 2 entries"),
    Wrong("collect with an empty mixture", command("collect", "policy=[]", "out=x.h5"), 2, "names no policy"),
    Wrong("collect with no policy", command("collect", "policy=nowhere", "out=x.h5"), 66, "nowhere"),
    Wrong("heuristic that is none", command("collect", "policy=heuristic", "out=x.h5"), 2, "has no heuristic"),
    Wrong(
        "SMAX data that nobody recorded",
        fit("experiment=smax_3m", "data.root=/no"),
        66,
        "vgm2p collect env=smax/3m recipe=mixed",
    ),
    Wrong("judges that do not agree", fit("algo=vgm2p_chosen", "algo.threshold=value"), 2, "set algo.margin=0"),
    Wrong("share of nothing", fit("algo=vgm2p_chosen", "algo.best_share=0"), 2, "algo.best_share must be above 0"),
    Wrong(
        "negative weight", fit("algo=vgm2p_chosen", "algo.class0_weight=-1"), 2, "algo.class0_weight must be a number"
    ),
    Wrong("weight beyond 1", fit("algo=vgm2p_chosen", "algo.class0_weight=2"), 2, "algo.class0_weight must lie"),
    Wrong(
        "guide by what is not learnt",
        fit("algo=vgm2p_chosen", "algo.class0_weight=0", "algo.omega=3", "algo.uncond=zero"),
        2,
        "set one of them",
    ),
    Wrong("no update of the policy", fit("algo=vgm2p_realised", "algo.judge.value_updates=4"), 2, "learns nothing in"),
    Wrong("judge that is none", fit("algo=vgm2p_chosen", "algo.judge=jury"), 2, "algo.judge"),
    *REPORTS,
    *OUTPUTS,
    *GAMES,
]
ALL = [*CASES, *KEYS]


def table() -> bool:
    """Print what is wrong, exit code and line of every case; return whether all answers are right."""
    good = True
    for case in ALL:
        with tempfile.TemporaryDirectory() as scratch:
            code, line, complaint = judge(case, Path(scratch))
        good &= not complaint
        print(f"{case.what:34} {code:4}  {line}{'   WRONG: ' + complaint if complaint else ''}", flush=True)
    return good


if __name__ == "__main__":
    fine = table()
    print(f"{len(ALL)} wrong inputs")
    sys.exit(0 if fine else 1)
