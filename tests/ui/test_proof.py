"""What is proved of a log on a page, and an event's inclusion checked by the browser itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import httpx2
import pytest

import refold
from refold.audit.note import COSIGNATURE, SigningKey, parse_checkpoint, parse_note
from refold.audit.sealer import add_signature
from refold.audit.tables import keeper_of, tables_of
from refold.conversation.events import UserUtterance
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.ui import proof as screen
from refold.ui.proof import log_proof, proof_text, signers
from tests.audit.sealed import ORIGIN, key_of, sealed_by, told
from tests.replay.test_report import HOSTILE
from tests.support.browser import Browser, browser
from tests.ui.reading import page
from tests.ui.serving import served

SECRET = "my card is 4111"
WITNESS = SigningKey("witness.example", sha256(b"witness").digest(), COSIGNATURE)
SEEN_S = 1_772_000_000


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    """A sealed log with branches, metadata and a hole, signed by a witness; one more since."""
    with refold.open("memory:") as made:
        told(made)
        made.append("call-3", [UserUtterance(text="Hello"), UserUtterance(text=SECRET)])
        sealing = sealed_by(made)
        sealing.checkpoint()
        redact(made, ["call-3@1"], field="/text", wanted=Removal("a card", "anna"))
        note = parse_note(sealing.checkpoint())
        own = WITNESS.sign(note.text, time_s=SEEN_S)
        said = parse_checkpoint(note.text)
        keeper_of(made).write(lambda begin: add_signature(begin(), said, own))
        made.append("call-4", [UserUtterance(text="Later")])
        yield made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


@pytest.mark.parametrize("kind", ["memory:", "journal"])
def test_a_log_that_is_not_sealed_says_how_to_seal_it(kind: str, tmp_path: Any) -> None:
    """Nothing is shown as if it were proved."""
    url = kind if kind == "memory:" else str(tmp_path / "log.jsonl")
    with refold.open(url) as made:
        made.append("call-1", [UserUtterance(text="Hello")])
        with served(made) as client:
            found = page(client, "/proof?event=call-1@0")
    assert "refold seal" in found.text
    assert not found.all("textarea")


def test_the_newest_head_and_its_signers_are_told(
    store: refold.Store, client: httpx2.Client
) -> None:
    """Whose key the log names is checked; a witness's is not, and that is said."""
    made = log_proof(store)
    assert (made.log.origin, made.unsealed) == (ORIGIN, 1)
    assert made.size == store.log_head() - 1
    assert [(one.name, one.is_witness, one.holds) for one in made.signers] == [
        (ORIGIN, False, True),
        (WITNESS.name, True, None),
    ]
    assert made.signers[1].at == "2026-02-25T06:13:20Z"
    found = page(client, "/proof")
    assert "1 newer event not yet" in found.text
    assert "a witness, by its word at 2026-02-25 06:13:20" in found.text
    assert str(made.note) in found.text


def test_a_signature_that_does_not_hold_is_said(store: refold.Store) -> None:
    """It is not passed over, nor is a stranger's taken for the log's."""
    note = parse_note(str(log_proof(store).note))
    own = key_of()
    wrong = own.sign(f"{note.text}more\n")
    stranger = SigningKey("stranger.example", bytes(32)).sign(note.text)
    changed = str(note._replace(signatures=[wrong, stranger]))
    found = [(one.name, one.is_witness, one.holds) for one in signers(changed, str(own.verifying))]
    assert found == [(ORIGIN, False, False), ("stranger.example", False, None)]


def test_holes_are_marked_with_who_took_what_out_and_why(client: httpx2.Client) -> None:
    """Each leads to its event and to the one that says so; what is gone is on no page."""
    found = page(client, "/proof")
    (mark,) = found.all("path", "hole")
    (listed,) = found.all("ul", "aside")
    assert "call-3@1" in listed.text
    assert "/text by anna, a card" in " ".join(listed.text.split())
    for link in [e.attributes["href"] for e in found.inside(listed, "a")]:
        answer = client.get(link)
        assert answer.status_code == 200
        assert SECRET not in answer.text
    assert mark.parent is not None
    assert mark.parent.attributes["href"] == "/events/call-3%401"


def test_a_large_payload_is_left_out_of_the_page(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the proof says that it is."""
    monkeypatch.setattr(screen, "PAYLOAD_BYTES_MAX", 5)
    made = json.loads(proof_text(store, "call-1@0"))
    assert "0" not in made["disclosed"]
    assert {"ordinal": 0, "why": "too large for a page: refold prove"} in made["withheld"]


@pytest.mark.parametrize(
    ("event", "said"),
    [("call-4@0", "not sealed yet"), ("call-9@0", "call-9"), ("call", "not an event id")],
)
def test_what_cannot_be_proved_is_said(client: httpx2.Client, event: str, said: str) -> None:
    """With the rest of the page around it."""
    found = page(client, f"/proof?event={event}")
    (alert,) = [e for e in found.elements if e.attributes.get("role") == "alert"]
    assert said in alert.text
    assert not found.all("textarea")


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_only_text(text: str) -> None:
    """In the proof, and in the reason of a redaction."""
    with refold.open("memory:") as made:
        made.append("call-1", [UserUtterance(text=text), UserUtterance(text="x")])
        sealed_by(made).checkpoint()
        redact(made, ["call-1@1"], field="/text", wanted=Removal(text, text))
        with served(made) as client:
            found = page(client, "/proof?event=call-1@0")
    assert not {"img", "iframe", "b"} & {e.tag for e in found.elements}
    assert not [n for e in found.elements for n in e.attributes if n.startswith("on")]
    assert text in found.text


# -- in the browser --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


def verdict(tab: Browser) -> tuple[str, str]:
    """What the browser found, when it is done."""
    tab.until(
        "['verified', 'refused', 'unsigned']"
        ".includes(document.getElementById('verdict').dataset.verdict)"
    )
    return (
        tab.value("document.getElementById('verdict').dataset.verdict"),
        tab.value("document.getElementById('verdict').textContent"),
    )


def entered(tab: Browser, where: str, text: str) -> tuple[str, str]:
    """The same after something else was entered."""
    tab.value(
        f"(box => {{ box.value = {json.dumps(text)};"
        "document.getElementById('verdict').dataset.verdict = '';"
        f"box.dispatchEvent(new Event('input')) }})(document.getElementById('{where}'))"
    )
    return verdict(tab)


def test_the_browser_verifies_every_event_of_a_log(
    store: refold.Store, client: httpx2.Client, tab: Browser
) -> None:
    """Of branches, with metadata, and with a hole; by the same proofs that strangers are given."""
    tab.said.clear()
    tab.go(str(client.base_url.join("/proof?event=call-3@1")), width=400)
    assert verdict(tab)[0] == "verified"
    assert "a hole: payload" in tab.value("document.getElementById('steps').innerText")
    assert tab.value("document.documentElement.scrollWidth") <= 400
    for recorded in store.read_all(limit=log_proof(store).size):
        found = entered(tab, "proof", proof_text(store, recorded.id))
        assert found[0] == "verified", (recorded.id, found)
        assert f"it is {recorded.id}" in tab.value("document.getElementById('steps').textContent")
    assert [one for one in tab.said if "404" not in one] == []


def forged(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A change to a copy of a proof."""

    def made(proof: Any) -> Any:
        changed = copy.deepcopy(proof)
        change(changed)
        return changed

    return made


def flipped(text: str) -> str:
    """Base64 of other bytes of the same length."""
    return ("B" if text[0] == "A" else "A") + text[1:]


CHANGES: dict[str, Callable[[Any], object]] = {
    "entry": lambda p: p.update(entry=flipped(p["entry"])),
    "index": lambda p: p.update(index=p["index"] + 1),
    "path": lambda p: p["path"].__setitem__(0, flipped(p["path"][0])),
    "path shorter": lambda p: p["path"].pop(),
    "path longer": lambda p: p["path"].append(p["path"][0]),
    "payload": lambda p: p["disclosed"]["0"].update(bytes=flipped(p["disclosed"]["0"]["bytes"])),
    "salt": lambda p: p["disclosed"]["0"].update(salt=flipped(p["disclosed"]["0"]["salt"])),
    "name": lambda p: p["disclosed"]["3"].update(bytes=flipped(p["disclosed"]["3"]["bytes"])),
    "name's event": lambda p: p["disclosed"]["3"].update(index=1),
    "left unsaid": lambda p: p["disclosed"].pop("0"),
    "said twice": lambda p: p["withheld"].append({"ordinal": 0, "why": "x"}),
    "id": lambda p: p["recorded"].update(id="call-9@9"),
    "position": lambda p: p["recorded"].update(position=1),
    "type": lambda p: p["recorded"].update(type="refund.made"),
    "time": lambda p: p["recorded"].update(recorded_at="2026-01-01T00:00:00+00:00"),
    "happened": lambda p: p["recorded"].pop("occurred_at"),
    "root": lambda p: p.update(
        checkpoint="\n".join(
            flipped(line) if n == 2 else line for n, line in enumerate(p["checkpoint"].split("\n"))
        )
    ),
    "size": lambda p: p.update(checkpoint=p["checkpoint"].replace("\n", "\n1", 1)),
    "origin": lambda p: p.update(origin="example.com/other"),
    "another log": lambda p: p.update(
        origin="example.com/other", checkpoint=p["checkpoint"].replace(ORIGIN, "example.com/other")
    ),
    "more": lambda p: p.update(note="and all the others"),
    "format": lambda p: p.update(format="refold-proof/2"),
}


def test_the_browser_refuses_every_change(
    store: refold.Store, client: httpx2.Client, tab: Browser
) -> None:
    """Whatever part of a proof is changed, and another key; put back, it is verified again."""
    tab.go(str(client.base_url.join("/proof?event=call-2@4")))
    assert verdict(tab)[0] == "verified"
    proof = json.loads(proof_text(store, "call-2@4"))
    for name, change in CHANGES.items():
        found = entered(tab, "proof", json.dumps(forged(change)(proof)))
        assert found[0] == "refused", name
    assert entered(tab, "proof", "no JSON")[0] == "refused"
    assert entered(tab, "proof", json.dumps(proof))[0] == "verified"
    other = str(key_of("example.com/other").verifying)
    assert "is not signed by" in entered(tab, "key", other)[1]
    same_name = str(SigningKey(ORIGIN, bytes(32)).verifying)
    assert entered(tab, "key", same_name)[0] == "refused"
    note = parse_note(proof["checkpoint"])
    mine = key_of()
    wrong = mine.sign("something else\n")
    resigned = str(note._replace(signatures=[wrong]))
    assert entered(tab, "key", str(mine.verifying))[0] == "verified"
    assert "does not hold" in entered(tab, "proof", json.dumps(proof | {"checkpoint": resigned}))[1]
    assert tables_of(store).log().keys.split() == [str(mine.verifying)]


def test_the_browser_holds_what_remains_to_its_redaction(
    store: refold.Store, client: httpx2.Client, tab: Browser
) -> None:
    """Other bytes, and a redaction that is of another event or not in the log, are refused."""
    tab.go(str(client.base_url.join("/proof?event=call-3@1")))
    assert verdict(tab)[0] == "verified"
    assert "what stands there since a redaction" in tab.value("steps.innerText")
    proof = json.loads(proof_text(store, "call-3@1"))
    other = json.loads(proof_text(store, "call-2@4"))
    changes: list[Callable[[Any], object]] = [
        lambda p: p["remains"].update(payload=flipped(p["remains"]["payload"])),
        lambda p: p["remains"].update(salt=flipped(p["remains"]["salt"])),
        lambda p: p["remains"].update(more="x"),
        lambda p: p["remains"]["redaction"].update(index=p["index"]),
        lambda p: p["remains"]["redaction"].update(
            bytes=flipped(p["remains"]["redaction"]["bytes"])
        ),
        lambda p: p["remains"].update(
            redaction={n: other[n] for n in ("index", "entry", "path")} | other["disclosed"]["0"]
        ),
    ]
    for change in changes:
        assert entered(tab, "proof", json.dumps(forged(change)(proof)))[0] == "refused"
    moved = forged(lambda p: p.update(remains=proof["remains"]))(other)
    assert "says remains of call-2@4" in entered(tab, "proof", json.dumps(moved))[1]
    assert entered(tab, "proof", json.dumps(proof))[0] == "verified"


def test_what_a_browser_cannot_check_is_not_called_verified(
    client: httpx2.Client, tab: Browser
) -> None:
    """Where it knows no Ed25519, nobody has vouched for the root that all leads to."""
    tab.go(str(client.base_url.join("/proof?event=call-2@4")))
    assert verdict(tab)[0] == "verified"
    key = str(key_of().verifying)
    for error, state, words in (
        ("NotSupportedError", "unsigned", "Not verified: this browser knows no Ed25519"),
        ("DataError", "refused", "the key is none of Ed25519"),
    ):
        tab.value(
            "void (crypto.subtle.importKey = () =>"
            f" Promise.reject(new DOMException('', '{error}')))"
        )
        found = entered(tab, "key", key)
        assert found[0] == state
        assert words in found[1]
