"""Secrets in the path of an address: what is taken for one, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.secrecy import keys_in, without_keys

KEYS = st.text("abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ", min_size=9, max_size=40)


@given(KEYS, st.integers(0, 9), st.integers(0, 40), st.sampled_from(["/v1", "", "/openai/v1"]))
def test_a_random_key_is_found_wherever_it_stands(
    letters: str, digit: int, at: int, before: str
) -> None:
    """Ten letters and digits without a break; what stands around it stays."""
    key = f"{letters[:at]}{digit}{letters[at:]}"
    address = f"https://gateway.example:8443{before}/{key}/chat/completions"
    assert without_keys(address) == address.replace(f"/{key}/", "/[removed]/")


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022", "o4-mini", "chat", "completions",
        "gemini-2.5-flash-preview-04-17:streamGenerateContent", "Meta-Llama-3.1-70B-Instruct-Turbo",
        "Mistral-7B-Instruct-v0.2-GPTQ", "llama-v3p1-405b-instruct", "Qwen3-235B-A22B-Instruct",
        "us.anthropic.claude-sonnet-4-20250514-v1:0", "my-deployment", "v1beta", "us-central1",
        "deployments", "publishers", "gpt-oss-120b", "mixtral-8x7b-32768", "3f2504e0-4f89",
    ],
)  # fmt: skip
def test_the_names_of_models_and_places_are_no_keys(name: str) -> None:
    """An address is told by them."""
    assert keys_in(f"/v1/{name}/chat/completions") == []
    assert without_keys(f"http://h/{name}") == f"http://h/{name}"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/key/abc/chat", ["abc"]),
        ("/v1/tokens/a-b/chat", ["a-b"]),
        ("/v1/sk%2Dabc/chat", ["sk%2Dabc"]),
        ("/v1/api-key/abc/chat", ["abc"]),
        ("/keys", []),
        ("", []),
        ("/", []),
        ("//x", []),
        ("/3f2504e0-4f89-11d3-9a0c-0305e82c3301/v1", ["3f2504e0-4f89-11d3-9a0c-0305e82c3301"]),
    ],
)
def test_a_segment_may_say_that_it_is_a_key_or_that_the_next_is(
    path: str, found: list[str]
) -> None:
    """By a word of it, however it is written."""
    assert keys_in(path) == found


@pytest.mark.parametrize("address", ["AsyncOpenAI", "https://h", "https://h/", "http://h:1/v1/"])
def test_an_address_without_a_key_stays_as_it_is(address: str) -> None:
    """Also what is no address, as the name of a client is."""
    assert without_keys(address) == address
