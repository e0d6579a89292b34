"""Wrong commands about exported policies."""

from tests.cli.answers import Wrong
from tests.cli.wrong_keys import command
from tests.cli.wrong_runs import flip_checkpoint, nothing, with_run

EXPORTS = [
    Wrong("export of nothing", command("export"), 2, "export needs run=<run folder>"),
    Wrong("export of an empty name", command("export", "run="), 2, "export needs run=<run folder>"),
    Wrong("evaluation of an empty name", command("evaluate", "run="), 2, "evaluate needs run=<run folder>"),
    Wrong("estimate of an empty name", command("estimate", "run="), 2, "estimate needs run=<run folder>"),
    Wrong("export of no run", command("export", "run=nowhere"), 66, "not a run folder"),
    Wrong("format that is none", command("export", "run=x", "formats=tflite"), 2, "safetensors, onnx, torch or a list"),
    Wrong("agent that is none", command("export", "run=x", "agent=all"), 2, "agent takes team, the number of an agent"),
    Wrong("several ways in an export", command("export", "run=x", "act_noise=[0,1]"), 2, "acts in one way"),
    Wrong("hub that is no name", command("export", "run=x", "hub=mine"), 2, "<owner>/<name>"),
    Wrong("private without a hub", command("export", "run=x", "private=true"), 2, "is for a repository on the hub"),
    Wrong("hub and run", command("evaluate", "run=x", "hub=a/b"), 2, "or hub=<owner>/<name>, only one of them"),
    Wrong("export with another seed", with_run(nothing, "export", "run={run}", "seed=5"), 2, "has the seeds 0"),
    Wrong("export of an agent too many", with_run(nothing, "export", "run={run}", "agent=6"), 2, "agents 0 to 5"),
    Wrong(
        "weights of an agent",
        with_run(nothing, "export", "run={run}", "agent=0", "formats=safetensors"),
        2,
        "the weights are those of the team",
    ),
    Wrong("export over a run", with_run(nothing, "export", "run={run}", "out={run}"), 74, "is no export"),
    Wrong("export of a damaged run", with_run(flip_checkpoint, "export", "run={run}"), 65, "damaged"),
]
