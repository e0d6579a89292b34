"""Cases 10, 11 and 15, attacks 10 and 11: every path is a path, every text is text, and a printed command works."""

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import vgm2p
from tests.cli.answers import TINY, answer
from vgm2p.cli import main
from vgm2p.config.command_line import hydra_words
from vgm2p.config.quoting import literal, quoted
from vgm2p.config.stored import stored_words
from vgm2p.config.typed import typed
from vgm2p.datamodules.sources.recorded import Bundled
from vgm2p.errors import ConfigError, DataError, MissingInput
from vgm2p.io.files import cache_folder
from vgm2p.io.text import command

NAMES = [
    *(
        "a b",
        "Düsen straße",
        "数据",
        "lr=0.1",
        "set [1]",
        "[1]",
        "{y}",
        "{a:1}",
        "$x",
        "${x}",
        "${oc.env:HOME}",
        "x$${",
    ),
    *("it's", 'say "x"', '"q"', "'q'", "a,b", "-dash", "a\\b", "a\\${b}", "end\\", "#h", "~x", "2026", "true", "null"),
    *(
        "1e5",
        "1_0",
        "nan",
        "2026-01-01",
        "12:30",
        "*",
        "?",
        "$(touch canary)",
        "`id`",
        "%41",
        "@at",
        "!x",
        "(p)",
        "a;b",
    ),
    *("|", "<", "..x", " lead", "trail ", "tab\there", "line\nbreak", "a\u3000b", "=", "x=", "range(1,3)", "+p"),
]


def values(words):
    """Return key -> value of words, as the configuration has them after Hydra and OmegaConf."""
    parsed = OverridesParser.create().parse_overrides(words)
    config = OmegaConf.create({each.key_or_group: each.value() for each in parsed})
    return OmegaConf.to_container(config, resolve=True)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(words):
    """Run the program in this process; return its standard output."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(words)
    assert code == 0, errors.getvalue()
    return output.getvalue()


def typed_word(word, *more):
    return typed(word, bool(more))


def tiny(*without):
    return [word for word in TINY if not word.startswith(without)]


@pytest.mark.parametrize("name", NAMES)
def test_what_exists_is_that_path_in_every_key(name, here):
    (here / name).mkdir()
    for key in ("out", "run", "ckpt", "resume", "data.root", "data.cache", "data.source.path", "catalogue"):
        for path in (name, f"{name}/below", str(here / name), str(here / name / "below")):
            if (here / path).exists() or name[0] not in "'\"":
                assert values([typed_word(f"{key}={path}")]) == {key: path}
    assert values(hydra_words("report", [name, f"versus={quoted(name)}"])) == {"runs": [name], "versus": name}
    assert values(hydra_words("report", [f"runs=[{quoted(name)}]"])) == {"runs": [name]}


@pytest.mark.parametrize("name", [n for n in NAMES if "${" not in n and n not in ("null", "a,b") and n[0] not in "'\""])
def test_what_does_not_exist_is_text_as_it_is(name, here):
    for key in ("out", "label", "data.name", "versus"):
        assert values([typed_word(f"{key}={name}")]) == {key: name}


def test_text_keys_take_null_references_and_several_values(here):
    assert values([typed_word("label=null")]) == {"label": None}
    assert values([typed_word('label="null"')]) == {"label": "null"}
    assert typed_word("label=l${seed}") == "label=l${seed}"
    assert typed_word("out=läufe/${label}") == 'out="läufe/${label}"'
    assert typed_word("label=7,1e5,ä b,null", "-m") == 'label="7","1e5","ä b",null'
    assert typed_word("label=choice(a,b)", "-m") == "label=choice(a,b)"
    code, line = answer(["fit", "label=a,b"])
    assert code == 2 and """or 'label="a,b"' for one name""" in line
    (here / "a,b").mkdir()
    assert values([typed_word("out=a,b/run", "-m")]) == {"out": "a,b/run"}


@pytest.mark.parametrize(
    ("word", "paths"),
    [
        ("data.source.paths=[a.h5,b.h5]", ["a.h5", "b.h5"]),
        ("data.source.paths=[2026, true,1e5]", ["2026", "true", "1e5"]),
        ("data.source.paths=[~/a b.h5,'~/c,d.h5']", ["/home/me/a b.h5", "/home/me/c,d.h5"]),
        ('data.source.paths=[Düsen.h5,"数,据.h5",lr=0.1.h5]', ["Düsen.h5", "数,据.h5", "lr=0.1.h5"]),
        ('files=[set (1).h5,say "x".h5]', ["set (1).h5", 'say "x".h5']),
    ],
)
def test_lists_of_paths_need_no_quotes(word, paths, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert values([typed_word(word)]) == {word.partition("=")[0]: paths}


def test_several_lists_of_paths_are_several_values(here, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    word = "data.source.paths=[a.h5,~/c d.h5], ['e,f.h5',=.h5]"
    assert typed_word(word, "-m") == """data.source.paths=[a.h5,"/home/me/c d.h5"],['e,f.h5',"=.h5"]"""
    assert typed_word("data.source.paths=['b],[c.h5']", "-m") == "data.source.paths=['b],[c.h5']"


@pytest.mark.parametrize("name", NAMES)
def test_words_of_a_manifest_keep_odd_names(name, tmp_path):
    words = [f"data.name={quoted(name)}", f"data.source.paths=[{quoted(name)}]"]
    if not name.isprintable() and "\u3000" not in name:
        with pytest.raises(DataError, match="cannot be typed"):
            stored_words(words, tmp_path)
        return
    kept, more = stored_words(words, tmp_path)
    if ":" in name and "${" in name:  # looks like a call of a resolver: used only if the user types it again
        assert more == words
        return
    assert more == [] and values(kept) == {"data.name": name, "data.source.paths": [name]}


def test_the_home_folder_in_keys_variables_and_yaml(here, monkeypatch):
    home = here / "home"
    (home / "conf").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    user = Path("~root").expanduser()
    for word in ("out=~/r", 'out="~/r"', "out='~/r'"):
        assert values([typed_word(word)]) == {"out": f"{home}/r"}
    assert values([typed_word("run=~root/r")]) == {"run": f"{user}/r"}
    assert values(hydra_words("report", ["~/r", "~root/r"])) == {"runs": [f"{home}/r", f"{user}/r"]}
    shutil.copy(Bundled().resolve()[0], home / "set.h5")
    (here / "conf" / "data").mkdir(parents=True)
    (here / "conf" / "data" / "mine.yaml").write_text(
        "defaults: [default, _self_]\nname: mine\nsource:\n  _target_: vgm2p.datamodules.sources.recorded.Files\n"
        "  paths: ['~/set.h5']\n"
    )
    for name in ("VGM2P_DATA", "VGM2P_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, f"~/{name}")
    assert cache_folder() == home / "XDG_CACHE_HOME" / "vgm2p"
    assert answer(["fit", *TINY, "out=~/run", "data=mine"]) == (0, "")
    config = json.loads((home / "run" / "manifest.json").read_text())["config"]
    assert config["out"] == f"{home}/run" and config["data"]["source"]["paths"] == [f"{home}/set.h5"]
    assert config["data"]["root"] == f"{home}/VGM2P_DATA" and config["data"]["cache"] == f"{home}/VGM2P_CACHE"
    assert vgm2p.load("~/run").update == 4
    assert answer(["fit", "resume=~/run", "updates=6"]) == (0, "")
    assert vgm2p.load("~/run").update == 6
    assert sorted(path.name for path in here.iterdir()) == ["conf", "home"]


def test_a_tilde_without_a_user_is_a_character_and_a_missing_home_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, line = answer(["evaluate", "run=~no such user"])
    assert (code, "~no such user: not a run folder" in line) == (66, True)
    with pytest.raises(MissingInput, match="~no such user: not a run folder"):
        vgm2p.load("~no such user")
    monkeypatch.setenv("XDG_CACHE_HOME", "~no such user/cache")
    with pytest.raises(ConfigError, match="no home folder; set XDG_CACHE_HOME"):
        cache_folder()


ODD = ["Düsen [1], {a:1}", '${seed} it\'s "x"', "-m $(touch canary)"]


@pytest.mark.parametrize("name", ODD)
def test_runs_of_odd_names_in_odd_folders_go_on(name, here, monkeypatch):
    folder = here / name
    (folder / "conf" / "net").mkdir(parents=True)
    (folder / "conf" / "net" / "mine.yaml").write_text("width: 8\ndepth: 1\nactivation: gelu\n")
    shutil.copy(Bundled().resolve()[0], folder / "set.h5")
    monkeypatch.chdir(folder)
    (folder / name).mkdir()  # what does not exist must be quoted where it has a meaning in Hydra's grammar
    data = ["data=files", f"data.source.paths=[{quoted(str(folder / 'set.h5'))}]", f"label={quoted(name)}"]
    assert answer(["fit", *TINY, "net=mine", *data, f"out={name}"]) == (0, "")
    assert answer(["fit", f"resume={name}", "updates=6"]) == (0, "")
    assert answer(["fit", f"resume={folder / name}", "updates=8"]) == (0, "")
    manifest = json.loads((folder / name / "manifest.json").read_text())
    assert manifest["config"]["data"]["source"]["paths"] == [str(folder / "set.h5")]
    assert manifest["config"]["label"] == name
    assert vgm2p.load(folder / name).update == 8
    code, line = answer(["report", name])
    assert code == 66 and "none of these folders contains a finished run" in line
    assert answer(["data", "check", str(folder / "set.h5")]) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == sorted({"conf", "set.h5", name})
    assert sorted(path.name for path in here.iterdir()) == [name]


@pytest.mark.parametrize("name", ODD)
def test_printed_commands_work_as_they_are_pasted(name, here, monkeypatch):
    (here / name).mkdir()
    monkeypatch.chdir(here / name)
    page = said(["fit", *tiny("trainer"), f"out={here / name / 'run'}", f"label={quoted(name)}"])
    printed = dict(line.split("  ", 1) for line in page.splitlines() if re.match(r"[a-z ]+  +[^ ].* -m vgm2p ", line))
    assert list(printed) == ["evaluate again", "train on", "other algorithm"]
    shell = 'for word; do printf "%s\\0" "$word"; done'
    for line in printed.values():
        pasted = subprocess.run(["bash", "-c", f"set -- {line.strip()}\n{shell}"], capture_output=True, check=True)
        words = pasted.stdout.decode().split("\0")[:-1]
        assert words == shlex.split(line)
        program, *words = words
        assert program.endswith(Path(sys.executable).name) and words[:2] == ["-m", "vgm2p"]
        if words[2] == "evaluate":
            assert values(hydra_words("evaluate", words[3:]))["run"] == str(here / name / "run")
        else:
            more = ["out=other"] if "algo=bc_flow" in words else []
            assert answer([*words[2:], *more]) == (0, "")
    assert vgm2p.load("run").update == 8
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["other", "run"]


@pytest.mark.parametrize(
    "word", ["a b", "\x1b[2J", "line\nbreak", "it's", "\u202eabc", os.fsdecode(b"\xff"), "a\\'\x07"]
)
def test_a_command_of_hidden_characters_can_be_pasted(word):
    line = command("report", word)
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", f"set -- {line}\nprintf '%s' \"${{!#}}\""], capture_output=True, check=True)
    assert os.fsdecode(done.stdout) == word


def test_words_that_cannot_be_paths_are_refused_in_one_line(here):
    for words in (
        ["fit", "out=${nothing}"],
        ["fit", "resume=a,b"],
        ["fit", "out=" + "x" * 9000],
        ["report", "x" * 9000],
    ):
        code, line = answer(words)
        assert code in (2, 66, 74) and line.count("\n") == 1 and "internal" not in line, line
    assert literal(values([f"a={quoted('a')}"])["a"]) == "a"


@pytest.mark.parametrize("label", ["7", "true", "1e5", "2026-01-01", "nan", "-1", "0x1f"])
def test_number_like_labels_name_the_run(label, here):
    words = hydra_words("fit", [*TINY, f"label={label}"])
    assert stored_words(words, here)[1] == []
    assert values(words)["label"] == label
