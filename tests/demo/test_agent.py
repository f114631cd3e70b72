"""The demo agent does what its prompt says: a rule more or less changes words, tools, arguments."""

import pytest

from refold.demo import tables
from refold.demo.agent import AgentReply
from refold.demo.clinic import TOOLS
from tests.demo.talks import (
    APPOINTMENT,
    FOUND,
    LISTED,
    OFFERED,
    PATIENT,
    SLOTS,
    agent,
    ask,
    used,
    user,
)

HELLO = agent("Thank you for calling. How can I help?")
BOOK = [*HELLO, *user("I would like to book an appointment.")]
WHO = "Verify identity (name and date of birth) before any appointment is discussed."
LATER = "Verify identity before booking."


def tools_of(reply: AgentReply) -> list[str]:
    return [name for name, _ in reply.calls]


def test_with_the_identity_rule_it_asks_who_is_calling_first() -> None:
    """The rule puts the question for name and date of birth before any slot."""
    reply = ask(WHO, BOOK)
    assert "date of birth" in reply.text
    assert not reply.calls


def test_without_the_identity_rule_it_looks_for_slots_at_once() -> None:
    """No rule, no question: the first thing is the list of slots."""
    assert tools_of(ask("", BOOK)) == ["list_slots"]


def test_identity_before_booking_comes_after_the_choice() -> None:
    """Rephrased to `before booking`, the question waits until a slot is chosen."""
    assert tools_of(ask(LATER, BOOK)) == ["list_slots"]
    chosen = [*BOOK, *LISTED, *OFFERED, *user("Yes, please.")]
    assert "date of birth" in ask(LATER, chosen).text


def test_name_and_date_of_birth_become_arguments() -> None:
    """What the caller said is what the look-up is asked for."""
    said = user("My name is Ada Alder, born 4 March 1985, 555-0101.")
    asked = agent("May I have your full name and date of birth, please?")
    known = {"name": "Ada Alder", "date_of_birth": "1985-03-04"}
    assert ask(WHO, BOOK, asked, said).calls == (("find_patient", known),)
    by_phone = "Verify identity first: name, date of birth and phone number."
    with_phone = (("find_patient", {**known, "phone": "555-0101"}),)
    assert ask(by_phone, BOOK, asked, said).calls == with_phone


@pytest.mark.parametrize(
    ("prompt", "count"), [("Offer the earliest slot.", 1), ("Offer the three earliest slots.", 3)]
)
def test_how_many_slots_is_an_argument_and_a_sentence(prompt: str, count: int) -> None:
    """The number in the prompt is how many are asked for, and how many are offered."""
    assert ask(prompt, BOOK).calls == (("list_slots", {"count": count}),)
    offered = ask(prompt, BOOK, LISTED).text
    assert sum(slot["doctor"] in offered for slot in SLOTS[:count]) == count
    assert offered.count(" at ") == count


def test_a_preference_for_mornings_is_an_argument_unless_the_caller_says_otherwise() -> None:
    """The caller's own wish goes before the prompt's."""
    prompt = "Offer the earliest slot. Prefer mornings."
    (_, arguments), *_ = ask(prompt, BOOK).calls
    assert arguments["part_of_day"] == "morning"
    (_, arguments), *_ = ask(prompt, BOOK, agent("Yes?"), user("In the afternoon, please.")).calls
    assert arguments["part_of_day"] == "afternoon"


def test_with_the_confirmation_rule_it_reads_back_before_it_books() -> None:
    """A yes to the offer is not yet a yes to the booking."""
    turns = [*BOOK, *FOUND, *LISTED, *OFFERED, *user("Yes, please.")]
    assert "Shall I" in ask("Confirm before booking.", turns).text
    assert tools_of(ask("", turns)) == ["book_appointment"]
    read_back = agent("So that is Tuesday 3 March at 9:10 with Dr Hale. Shall I go ahead?")
    reply = ask("Confirm before booking.", turns, read_back, user("Yes."))
    booking = {"slot_id": "S-001", "patient_id": "P-1001"}
    assert reply.calls == (("book_appointment", booking),)


def test_without_a_verified_patient_a_booking_goes_by_name() -> None:
    """The arguments of a booking say what is known of the caller."""
    turns = [*HELLO, *user("Hello, this is Ada Alder. I need an appointment."), *LISTED, *OFFERED]
    reply = ask("", turns, user("The first one, please."))
    assert reply.calls == (("book_appointment", {"slot_id": "S-001", "name": "Ada Alder"}),)


def test_the_cancellation_policy_is_mentioned_with_its_hours() -> None:
    """The hours in the prompt are the hours in the sentence."""
    turns = [*BOOK, *FOUND, *LISTED, *used("book_appointment", APPOINTMENT, slot_id="S-001")]
    assert "48 hours" in ask("Mention the cancellation policy: 48 hours.", turns).text
    assert "hours" not in ask("", turns).text


def test_advice_is_given_refused_or_turned_into_a_call_back() -> None:
    """Three prompts, three answers to the same question."""
    turns = [*HELLO, *user("What can I take for a sore throat?")]
    assert "usually" in ask("", turns).text
    assert "cannot" in ask("Never give medical advice.", turns).text
    both = "Never give medical advice; offer a nurse call back instead."
    assert "nurse" in ask(both, turns).text


def test_a_call_back_is_asked_for_only_under_its_rule_and_with_its_tool() -> None:
    """A yes to the nurse becomes a tool call, unless the rule or the tool is gone."""
    offered = agent("I cannot give medical advice. Would you like a nurse to call you back?")
    question = user("What can I take for a sore throat?")
    turns = [*HELLO, *question, *offered, *user("Yes, my name is Ada Alder.")]
    prompt = "Never give medical advice; offer a nurse call back."
    wanted = {"name": "Ada Alder", "about": "sore throat"}
    assert ask(prompt, turns).calls == (("request_nurse_callback", wanted),)
    assert not ask("Never give medical advice.", turns).calls
    without = [tool for tool in TOOLS if tool["function"]["name"] != "request_nurse_callback"]
    assert not ask(prompt, turns, tools=without).calls


def test_urgent_symptoms_are_transferred_under_their_rule() -> None:
    """The transfer comes with a word to the caller, in one answer."""
    turns = [*HELLO, *user("I have chest pain, what can I take?")]
    reply = ask("If symptoms sound urgent, transfer to the nurse line.", turns)
    assert reply.calls == (("transfer_call", {"to": "nurse line", "reason": "urgent symptoms"}),)
    assert "nurse line" in reply.text
    assert not ask("", turns).calls


def test_a_person_is_given_at_once_after_trying_or_never() -> None:
    """The wording of the rule decides when the call is handed over."""
    turns = [*HELLO, *user("I want to talk to a person.")]
    assert tools_of(ask("If they ask for a person, transfer the call.", turns)) == ["transfer_call"]
    trying = "If they ask for a person, try to help first, then transfer the call."
    assert not ask(trying, turns).calls
    again = [*turns, *agent("I can book, move or cancel."), *user("No, a person, please.")]
    assert tools_of(ask(trying, again)) == ["transfer_call"]
    assert not ask("", turns).calls


def test_abuse_is_warned_about_once() -> None:
    """The second insult is transferred to the duty manager."""
    prompt = "If a caller is abusive, warn once, then transfer to the duty manager."
    turns = [*HELLO, *user("You useless machine!")]
    warning = ask(prompt, turns)
    assert not warning.calls
    reply = ask(prompt, turns, agent(warning.text), user("Shut up."))
    assert [arguments["to"] for _, arguments in reply.calls] == ["duty manager"]


def test_an_appointment_is_moved_by_booking_before_cancelling() -> None:
    """A caller is never left without an appointment when the new slot is lost."""
    turns = [
        *HELLO,
        *user("I need to move my appointment."),
        *FOUND,
        *LISTED,
        *OFFERED,
        *user("Yes."),
    ]
    (first,) = ask("", turns).calls
    assert first[0] == "book_appointment"
    booked = used("book_appointment", {**SLOTS[0], "appointment_id": "A-009"}, slot_id="S-001")
    reply = ask("", turns, booked)
    assert reply.calls == (("cancel_appointment", {"appointment_id": "A-001"}),)


def test_a_lost_slot_is_said_and_another_one_offered() -> None:
    """The slot that was taken is not offered again."""
    taken = used("book_appointment", {"error": "slot_taken"}, slot_id="S-001")
    turns = [*BOOK, *FOUND, *LISTED, *OFFERED, *user("Yes."), *taken]
    again = used("list_slots", {"slots": SLOTS}, count=2)
    text = ask("Offer the earliest slot.", turns, again).text
    assert "taken" in text
    assert "9:50" in text
    assert "9:10" not in text


def test_a_look_up_that_fails_is_tried_once_more() -> None:
    """The same call again, then an apology."""
    said = user("It's Ada Alder, 4 March 1985.")
    down = used("find_patient", {"error": "unavailable"}, name="Ada Alder")
    turns = [*BOOK, *agent("May I have your full name and date of birth?"), *said, *down]
    reply = ask(WHO, turns)
    assert reply.calls == (("find_patient", {"name": "Ada Alder"}),)
    assert not ask(WHO, turns, agent(reply.text), down).calls


def test_someone_not_found_twice_is_not_served() -> None:
    """Two wrong dates of birth end in a transfer where the prompt allows one."""
    turns = list(BOOK)
    for year in (1985, 1986):
        turns += agent("May I have your full name and date of birth, please?")
        turns += user(f"Ada Alder, 4 March {year}.")
        birth = f"{year}-03-04"
        missing = {"error": "not_found"}
        turns += used("find_patient", missing, name="Ada Alder", date_of_birth=birth)
    turns += agent("I find no record with those details. Could you give me your full name again?")
    turns += user("Ada Alder, 4 March 1987.")
    assert "without" in ask(WHO, turns).text
    reply = ask(f"{WHO} If they ask for a person, transfer the call.", turns)
    assert tools_of(reply) == ["transfer_call"]


def test_keys_and_silence_are_understood() -> None:
    """1 takes the offer; twice nothing ends the call."""
    turns = [*BOOK, *FOUND, *LISTED, *OFFERED]
    assert tools_of(ask("", turns, user("(keypad) 1"))) == ["book_appointment"]
    silent = user("(silence) 8 s")
    assert "still there" in ask("", turns, silent).text
    ended = ask("", turns, silent, agent("Are you still there?"), silent)
    assert "cannot hear you" in ended.text


def test_brief_is_shorter_everywhere() -> None:
    """The rule changes no action, only how much is said."""
    for turns in (HELLO[:0], BOOK, [*BOOK, *FOUND, *LISTED]):
        full, brief = ask(WHO, turns), ask(f"{WHO} Be brief.", turns)
        assert full.calls == brief.calls
        assert len(brief.text) <= len(full.text)


def test_the_same_request_has_the_same_answer_and_a_seed_varies_the_words() -> None:
    """Chance is a function of the request; without temperature there is none."""
    turns = [*BOOK, *FOUND, *LISTED]
    assert len({ask(tables.RECORDED, turns, seed=n) for n in range(20)}) == 1
    sampled = [ask(tables.RECORDED, turns, seed=n, temperature=0.7) for n in range(20)]
    assert len(set(sampled)) > 1
    assert sampled == [ask(tables.RECORDED, turns, seed=n, temperature=0.7) for n in range(20)]


@pytest.mark.parametrize(
    "content", ["", "日本語で話せますか", "<script>", "x" * 100_000, "(keypad) #", '{"a": 1}']
)
def test_whatever_a_caller_says_there_is_an_answer(content: str) -> None:
    """Words that mean nothing to it are asked for again."""
    assert ask(tables.RECORDED, HELLO, user(content)).text


def test_results_that_are_no_json_are_survived() -> None:
    """A tool of another world may answer in prose."""
    prose = used("find_patient", PATIENT, name="x")
    prose[1]["content"] = "Error: no such user"
    assert ask(tables.RECORDED, BOOK, prose).text
