"""`label`, `datasets`, `prompts`: what people say of conversations, and lists of them."""

import json
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import (
    AgentConfigured,
    Attributes,
    Prompt,
    ScoreRecorded,
    SessionEnded,
    UserUtterance,
)
from refold.replay import Dataset
from tests.cli.running import Refold
from tests.cli.test_nothing_in_silence import refused


@pytest.fixture(autouse=True)
def calls() -> None:
    """Four calls: of two prompts, the second with a label, one without any."""
    first, second = Prompt("Be kind.\nBe brief."), Prompt("Be kind.\nAsk first.", id="desk-2")
    with refold.open("refold.db") as store:
        for number, prompt in enumerate([first, first, second]):
            agent = AgentConfigured(agent="desk", model="m", prompt=prompt)
            begun = refold.Event.of(agent, occurred_at=f"2026-03-0{number + 1}T09:00:00Z")
            task = {"task": "a" if number else "b"}
            store.append(f"call-{number}", [begun, UserUtterance("hi")], metadata=task)
        store.append("call-3", [UserUtterance("hi")])
        store.branch("call-2").adding(AgentConfigured(prompt=Prompt("?"))).save("call-2~b")


def test_a_label_is_found_again(run: Refold) -> None:
    """Words are labels, numbers are scores; again they add nothing."""
    given = ("call-1", "outcome=lost", "helpful=4", "--tag", "odd", "--rater", "ann")
    assert run("label", *given).out == "call-1: 3 labels recorded, scores included\n"
    assert run("label", *given, "--json").lines == [{"stream": "call-1", "recorded": 0}]
    for options in (("--outcome", "lost"), ("--tag", "odd", "--category", "call")):
        assert [one["stream"] for one in run("streams", "--json", *options).lines] == ["call-1"]
    assert run("label", "call-1", "right=no", "--version", "1", "--rater", "ann").code == 0
    with refold.open("refold.db", mode="read") as store:
        known = Attributes.of(store.read("call-1"))
        assert (known.labels, known.scores) == ({"outcome": "lost"}, {"helpful": 4.0})
        (*_, last) = store.read("call-1")
        assert last.data == {"name": "right", "value": "no", "rater": "ann", "at": "call-1@1"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("call-1", "--rater", "ann"), "say what it is"),
        (("call-1", "lost", "--rater", "ann"), "'lost' is not NAME=VALUE"),
        (("call-1", "outcome=lost"), "Missing option '--rater'"),
        (("call-9", "a=b", "--rater", "ann"), "no stream 'call-9'"),
        (("call-1", "a=b", "--rater", "ann", "--version", "9"), "call-1@9"),
    ],
)
def test_what_is_no_label_is_refused(run: Refold, args: tuple[str, ...], said: str) -> None:
    """In one line; nothing is recorded."""
    refused(run("label", *args), said)


def test_a_dataset_is_chosen_from_wherever_conversations_are(run: Refold) -> None:
    """Made by the options, listed, shown, taken by `--dataset`; how it was chosen is kept."""
    made = run("datasets", "make", "hard", "--prompt-version", "desk-2", "--json").lines
    assert made[0]["items"] == ["call-2@1"]
    assert made[0]["chosen_by"] == {"prompt_version": "desk-2"}
    wide = ("datasets", "make", "hard", "--category", "call", "--sample", "2", "--seed", "3")
    assert run(*wide).out.startswith("hard@1")
    assert run("datasets").out.startswith("hard@1")
    assert run("datasets", "--json").lines == run("datasets", "list", "--json").lines
    assert "2 conversations  sample=2 seed=3 category=call" in run("datasets", "list").out
    assert run("datasets", "show", "hard@0").out.splitlines()[1:] == ["  call-2@1"]
    of = ("--dataset", "hard@0")
    assert [one["stream"] for one in run("streams", "--json", *of).lines] == ["call-2"]
    assert [one["stream"] for one in run("log", "--json", *of).lines] == ["call-2"] * 2
    (verified,) = run("replay", "--mode", "verify", "--json", *of).lines
    assert verified["conversations"] == 1
    refused(run("export", "openai-chat", "call-1", *of), "no stream fits --dataset")
    with refold.open("refold.db") as store:
        store.append("call-2", [UserUtterance("bye")])
    (messages,) = run("export", "openai-chat", *of).lines
    assert [one["content"] for one in messages if one["role"] == "user"] == ["hi"]
    refused(run("streams", "--dataset", "soft"), "there is hard@1")


def test_a_dataset_goes_out_and_comes_back_labelled(run: Refold, tmp_path: Path) -> None:
    """A line a conversation with what it is known by; labels that are added are recorded."""
    assert run("datasets", "make", "mine", "call-0", "call-1").code == 0
    lines = run("datasets", "export", "mine").lines
    assert [(one["id"], one["task"]) for one in lines] == [("call-0@1", "b"), ("call-1@1", "a")]
    lines[0] |= {"labels": {"outcome": "lost"}, "scores": {"helpful": 2}, "tags": ["odd"]}
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in lines) + "\n")
    silent = run("datasets", "import", "mine", str(file))
    assert silent.err == (
        f"{file} has labels, scores or tags of 1 conversation that are not recorded: "
        "say whose they are, with --rater NAME\n"
    )
    assert run("streams", "--outcome", "lost", "--json").lines == []
    back = run("datasets", "import", "mine", str(file), "--rater", "ann")
    assert back.out.startswith("mine@0")
    assert back.err == "3 labels recorded, scores included\n"
    again = run("datasets", "import", "mine", "-", "--rater", "ann", stdin=file.read_text())
    assert again.err == "0 labels recorded, scores included\n"
    assert run("datasets", "import", "mine", str(file)).err == ""
    (found,) = run("streams", "--outcome", "lost", "--tag", "odd", "--json").lines
    assert found["stream"] == "call-0"
    with refold.open("refold.db", mode="read") as store:
        assert Dataset.named(store, "mine").items == ["call-0@1", "call-1@1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "- holds no conversations"),
        ("[]", "line 1 is no line of a dataset"),
        ('{"id": 7}', "line 1 is no line of a dataset"),
        ('\n{"stream": "call-1"}\n{}', "line 3 has neither an id nor a stream"),
        ('{"id": "call-1@9"}', "no stream or event 'call-1@9'"),
        ('{"stream": "call-1", "labels": {"a": 1}}', "labels"),
    ],
)
def test_what_is_no_dataset_is_not_imported(run: Refold, text: str, said: str) -> None:
    """With its line; nothing is written."""
    refused(run("datasets", "import", "mine", "-", "--rater", "ann", stdin=text), said)
    assert run("datasets", "list").out == ""


def test_an_unedited_export_says_nothing_new(run: Refold, tmp_path: Path) -> None:
    """Neither what a benchmark scored nor tags of metadata become a person's word."""
    with refold.open("refold.db") as store:
        store.append("bench-1", [UserUtterance("hi")], metadata={"tags": ["vip"], "task": "a"})
        store.append("bench-1", [ScoreRecorded("reward", 0, "bench"), SessionEnded()])
    assert run("datasets", "make", "mine", "bench-1", "call-0").code == 0
    (tmp_path / "mine.jsonl").write_text(run("datasets", "export", "mine").out)
    back = run("datasets", "import", "mine", str(tmp_path / "mine.jsonl"), "--rater", "ann")
    assert back.err == "0 labels recorded, scores included\n"
    text = '{"stream": "bench-1", "scores": {"reward": 1}, "tags": ["vip", "odd", "odd"]}'
    again = run("datasets", "import", "mine", "-", "--rater", "ann", stdin=text)
    assert again.err == "2 labels recorded, scores included\n"


def test_an_import_does_all_or_nothing(run: Refold) -> None:
    """A label that is too large to be stored is told with its line before any is recorded."""
    lines = [
        {"stream": "call-0", "labels": {"outcome": "lost"}},
        {"stream": "call-1", "labels": {"outcome": "x" * 20_000_000}},
    ]
    text = "\n".join(map(json.dumps, lines))
    refused(run("datasets", "import", "mine", "-", "--rater", "ann", stdin=text), "-, line 2: ")
    assert run("datasets", "list").out == ""
    with refold.open("refold.db", mode="read") as store:
        assert Attributes.of(store.read("call-0")).labels == {}


def test_labels_stay_with_their_line(run: Refold) -> None:
    """Though another makes the dataset's next version at the same time."""
    really = refold.Store.append_together

    def append_together(store: refold.Store, appends: Any) -> Any:
        patch.undo()
        done = really(store, appends)
        Dataset.make(store, "mine", ["call-1"])
        return done

    text = '{"stream": "call-0", "labels": {"outcome": "lost"}}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refold.Store, "append_together", append_together)
        done = run("datasets", "import", "mine", "-", "--rater", "ann", stdin=text)
    assert done.out.startswith("mine@0")
    with refold.open("refold.db", mode="read") as store:
        labels = [Attributes.of(store.read(one)).labels for one in ("call-0", "call-1")]
        assert Dataset.named(store, "mine").version == 1
    assert labels == [{"outcome": "lost"}, {}]


def test_more_labels_than_are_recorded_at_once_are_refused(
    run: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do; nothing is written."""
    monkeypatch.setattr("refold.replay.labels.LABELLED_MAX", 1)
    lines = [{"stream": f"call-{number}", "tags": ["odd"]} for number in range(2)]
    text = "\n".join(map(json.dumps, lines))
    given = ("datasets", "import", "mine", "-", "--rater", "ann")
    refused(run(*given, stdin=text), "import it in parts first")
    assert run(*given, stdin=text.splitlines()[0]).code == 0
    assert run(*given, stdin=text).out.startswith("mine@1")


def test_a_dataset_is_made_of_events_by_their_ids(run: Refold) -> None:
    """Each a conversation up to it, and so are those of another dataset; one is in it once."""
    made = run("datasets", "make", "pin", "call-1@0", "call-2", "--json").lines
    assert made[0]["items"] == ["call-1@0", "call-2@1"]
    of = run("datasets", "make", "of", "--dataset", "pin", "--json").lines
    assert of[0]["items"] == ["call-1@0", "call-2@1"]
    narrow = ("datasets", "make", "pin", "call-1@0", "call-2@0", "--prompt-version", "desk-2")
    assert run(*narrow, "--json").lines[0]["items"] == ["call-2@0"]
    for given, said in (
        (("call-1@0", "call-1@1"), "call-1 is in a dataset once"),
        (("call-1@0", "call-1"), "call-1 is in a dataset once"),
        (("call-1@9",), "no stream or event 'call-1@9'"),
        (("call-9@0",), "there is no stream 'call-9@0'"),
    ):
        refused(run("datasets", "make", "pin", *given), said)


def test_prompts_are_listed_in_the_order_of_their_time(run: Refold) -> None:
    """With their labels, times, agents and conversations; those of branches are none."""
    first, second = run("prompts", "--json").lines
    assert first["streams"] == ["call-0", "call-1"]
    assert (first["first_at"], first["last_at"]) == ("2026-03-01T09:00:00Z", "2026-03-02T09:00:00Z")
    assert (second["labels"], second["agents"], second["models"]) == (["desk-2"], ["desk"], ["m"])
    out = run("prompts").out
    assert "2 conversations  desk\n    Be kind. Be brief.\n" in out
    assert run("prompts", "list", "--agent", "nobody").out == ""
    found = run("streams", "--prompt-version", first["hash"][:8], "--json").lines
    assert sorted(one["stream"] for one in found) == first["streams"]


def test_a_prompt_of_a_recorded_branch_was_in_force(run: Refold) -> None:
    """It is listed with the branch, and what was only tried is not."""
    with refold.open("refold.db") as store:
        store.branch("call-2").save("call-2~1")
        asked = AgentConfigured(prompt=Prompt("Ask twice.", id="desk-3"))
        store.append("call-2~1", [asked], metadata={"origin": "recorded"})
    listed = run("prompts", "--json").lines
    assert [(one["labels"], one["streams"]) for one in listed][-1] == (["desk-3"], ["call-2~1"])
    assert len(listed) == 3


def test_a_dataset_of_replays_is_taken_as_it_is(run: Refold) -> None:
    """Where nothing else is asked; else those left out are told."""
    with refold.open("refold.db") as store:
        store.branch("call-2").adding(UserUtterance("hm")).save("call-2~replay-a-0")
        Dataset.make(store, "mine", ["call-2~replay-a-0", "call-1"])
    listed = run("datasets", "make", "again", "--dataset", "mine", "--json").lines
    assert listed[0]["items"] == ["call-1@1", "call-2~replay-a-0@3"]
    narrow = run("streams", "--dataset", "mine", "--agent", "desk", "--json")
    assert [one["stream"] for one in narrow.lines] == ["call-1"]
    assert "left out 1 stream of replays" in narrow.err


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ("sample=abc", "--a: 'sample=abc' is no whole number"),
        ("with_error=perhaps", "--a: 'with_error=perhaps' is no yes or no"),
        ("last=soon", "--a: 'last=soon' is no time or age"),
        ("call,chat", "--a says category twice"),
        ("tool=a,tool=b", "--a says tool twice"),
        ("last=7d,since=2026-01-01", "--a says since twice"),
        ("with_error", "no stream fits"),
        ("with_error=1", "no stream fits"),
    ],
)
def test_a_selection_that_says_nothing_is_refused(run: Refold, selection: str, said: str) -> None:
    """With the option that has it; a flag may stand alone."""
    refused(run("compare", "--a", selection, "--b", "call"), said)


def test_how_prompts_differ(run: Refold) -> None:
    """Line by line, and exit code 1; by label or hash, and a wrong one is told."""
    first = run("prompts", "--json").lines[0]["hash"][:6]
    done = run("prompts", "diff", first, "desk-2")
    assert done.code == 1
    assert done.out.splitlines()[3:] == [" Be kind.", "-Be brief.", "+Ask first."]
    assert run("prompts", "diff", first, first).code == 0
    assert run("prompts", "show", "desk-2").out == "Be kind.\nAsk first.\n"
    refused(run("prompts", "show", "desk-3"), "did you mean desk-2?")
    refused(run("prompts", "show", ""), "several prompts")
