"""Words of the command line: file names without quotes, keys that a command does not read, files that `out=` names."""

import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.cli.answers import TINY, answer
from tests.datamodules.vaults.truths import ROOT as VAULTS
from tests.support import small_columns
from vgm2p.cli import main
from vgm2p.config.command_line import hydra_words
from vgm2p.config.compose import config_folder
from vgm2p.config.quoting import quoted
from vgm2p.datamodules.layout.reading import read
from vgm2p.datamodules.layout.writing import write
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.errors import ConfigError

NAMES = ["a b.h5", "Düsen straße.h5", "数据.h5", "lr=0.1.h5", "set [1].h5", 'say "x", {y}.h5', "a\\.h5", "-.h5"]


def values(words):
    return {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(words)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_of_environments_are_understood_as_experiments_have_them(here):
    words = ["env=smax_3m", "env=smax/3m", "env=smax_nowhere", "label=smax_3m", "env=none"]
    assert hydra_words("fit", words) == ["env=smax/3m", *words[1:]]


@pytest.mark.parametrize("name", [*NAMES, 'back\\"', "end\\", "${x}"])
def test_quoted_text_is_read_back_as_it_is(name):
    read_back = values([f"a={quoted(name)}", f"b=[{quoted(name)}]"])
    assert read_back == {"a": name.replace("${", "\\${"), "b": [name.replace("${", "\\${")]}


def test_bare_words_are_files_and_a_file_is_not_taken_for_a_key(here):
    for name in NAMES[:-1]:
        (here / name).write_text("")
    assert values(hydra_words("data", ["show", *NAMES[:-1], "out=p"])) == {
        "out": "p",
        "action": "show",
        "files": NAMES[:-1],
    }
    assert values(hydra_words("report", ["a", "versus=b c"])) == {"versus": "b c", "runs": ["a"]}
    assert hydra_words("data", ["--cfg", "job", "list"]) == ["--cfg", "job", "action=list"]


def test_a_value_that_hydra_cannot_parse_is_text(here):
    words = ["out=/tmp/my run/ä", "label=a # b", "seed=1,2", "compare=[a,b]", "algo.omega=0.5", "-m"]
    assert hydra_words("fit", words) == ["-m", 'out="/tmp/my run/ä"', 'label="a # b"', *words[2:-1]]  # options first


@pytest.mark.parametrize("word", ["out=~/runs/a", "out='~/runs/a'", 'out="~/runs/a"'])
def test_the_tilde_is_the_home_folder(word, here, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert values(hydra_words("fit", [word])) == {"out": "/home/somebody/runs/a"}


def test_words_that_call_a_resolver_are_refused_and_references_are_not(here):
    with pytest.raises(ConfigError, match="environment variables"):
        hydra_words("fit", ["label=${oc.env:HOME}"])
    assert hydra_words("fit", ["checkpoint_every=${eval_every}"]) == ["checkpoint_every=${eval_every}"]


def test_a_dataset_of_any_name_is_shown(here):
    source = Bundled().resolve()[0]
    for name in NAMES[:5]:
        shutil.copy(source, here / name)
        assert answer(["data", "show", name]) == (0, ""), name


def test_a_run_folder_of_any_name_is_resumed(here):
    out = here / "läufe und mehr"
    assert answer(["fit", *TINY, f"out={out}", "label=7"]) == (0, "")
    assert answer(["fit", f"resume={out}", "updates=6"]) == (0, "")
    assert (out / "checkpoints" / "update-000000006.ckpt").exists()
    assert sorted(path.name for path in here.iterdir() if path.name not in ("runs", "outputs")) == ["läufe und mehr"]


VAULT = str(VAULTS / "smac_v1" / "3m.vlt" / "Good")
OTHER = str(VAULTS / "smac_v1" / "3m.vlt" / "Poor")


def convert(here, *words):
    return answer(["data", "convert", *words, f"cache={here / 'cache'}"])


def test_convert_writes_the_file_that_out_names_and_no_other(here):
    assert convert(here, VAULT, "out=new/x.h5") == (0, "")
    assert len(read(here / "new" / "x.h5", verify="full").episodes["start"])
    assert not list((here / "cache").rglob("*.h5"))
    code, text = convert(here, VAULT, "out=new/x.h5")
    assert (code, "exists" in text) == (74, True)
    assert answer(["data", "check", "new/x.h5"])[0] == 0


def test_convert_to_one_file_takes_one_dataset(here):
    code, text = convert(here, VAULT, OTHER, "out=x.h5")
    assert code == 2 and "2 datasets" in text
    assert convert(here, VAULT, "out=x.hdf5")[0] == 2
    assert convert(here, VAULT, OTHER)[0] == 0
    assert len(list((here / "cache").rglob("*.h5"))) == 2
    assert not list(here.glob("x.*"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data", "list", "out=x"], "data list does not read out=; data convert and data show do"),
        (["data", "check", "set.h5", "out=x"], "does not read out="),
        (["data", "fetch", "omiga/x", "out=x.h5"], "does not read out="),
        (["data", "show", "set.h5", "revision=main"], "does not read revision="),
        (["data", "convert", VAULT, "revision=main"], "revision= is for published datasets"),
        (["data", "show", "set.h5", "+nonsense=1"], "unknown key 'nonsense'"),
        (["data", "show", "set.h5", "nonsense=1"], "unknown key 'nonsense'"),
        (["report", "runs", "acting=best"], "versus=<method>"),
        (["evaluate", "run=a", "ckpt=b"], "only one of them"),
        (["evaluate", "run=a", "+seed=1"], "unknown key 'seed'"),
        (["collect", "out=x.h5", "+data.source=1"], "unknown key 'data.source'"),
        (["collect", "out=x.h5", "episodes=many"], "episodes must be a whole number from 1 or a list"),
        (["doctor", "+root=1"], "Could not append"),
    ],
)
def test_a_key_that_a_word_does_not_read_is_refused(words, says, here):
    write(here / "set.h5", small_columns())
    code, text = answer(words)
    assert code == 2 and text.count("\n") == 1, text
    assert says in text
    assert sorted(path.name for path in here.iterdir() if not path.name.startswith(".")) == ["set.h5"]


def test_help_has_every_key_with_its_comment_and_those_of_the_files_that_were_chosen(here, capsys):
    assert main(["fit", "--help", "algo=bc_flow"]) == 0
    page = capsys.readouterr().out
    for name in ("fit", "trainer/default", "algo/bc_flow", "data/default", "net/paper"):
        lines = (config_folder() / f"{name}.yaml").read_text().splitlines()
        comments = [line for line in lines if line.startswith("#")]
        assert comments and not [line for line in comments if line not in page], name
    assert "## algo=bc_flow; others: bc_diffusion, bc_gaussian" in page
    assert "hydra:" not in page and "defaults:" not in page
    code, text = answer(["fit", "--help", "algo=bc_flo"])
    assert (code, "did you mean 'bc_flow'" in text) == (2, True)


def test_pictures_of_show_go_where_out_says(here):
    assert answer(["data", "show", "bundled_6halfcheetah", "out=pictures"])[0] == 0
    assert [path.suffix for path in Path("pictures").iterdir()] == [".png"]


OWN_NET = "_target_: mine.Mine\nwidth: 16\nnet: {width: 8, depth: 1}\noptim: ${optim}\n"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("algo.net.wdth", "did you mean 'algo.net.width'?"),
        ("algo.nett.width", "did you mean 'algo.net.width'?"),
        ("algo.widht", "did you mean 'algo.width'?"),
        ("algo.optim.lr", "use 'optim.lr', which sets it for all networks of the run"),
    ],
)
def test_the_hint_for_a_wrong_key_names_the_keys_of_the_chosen_algorithm(here, key, hint):
    (here / "conf" / "algo").mkdir(parents=True)
    (here / "conf" / "algo" / "mine.yaml").write_text(OWN_NET)
    code, line = answer(["fit", "algo=mine", f"{key}=3"])
    assert (code, line) == (2, f"vgm2p: unknown key '{key}'; {hint}\n")
