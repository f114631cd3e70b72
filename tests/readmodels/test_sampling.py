"""Samples: so many by chance, of each stratum its share, and always the same."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from refold.readmodels.sampling import sampled

STREAMS = st.dictionaries(
    st.text("abc-~é", min_size=1, max_size=6), st.sampled_from(["x", "y", "z", None]), max_size=40
)


@given(strata=STREAMS, count=st.integers(1, 50), seed=st.integers(0, 3))
def test_every_stratum_has_its_share(strata: dict[str, str | None], count: int, seed: int) -> None:
    """As many as asked or as there are; one of each at least, and no share off by more than one."""
    taken = sampled(strata, count, seed=seed, stratum_of=strata.get)
    assert taken == sorted(set(taken) & strata.keys())
    assert len(taken) == min(count, len(strata))
    assert taken == sampled(reversed([*strata]), count, seed=seed, stratum_of=strata.get)
    sizes, got = Counter(strata.values()), Counter(strata[one] for one in taken)
    if count >= len(sizes):
        assert got.keys() == sizes.keys()
    for stratum, size in sizes.items():
        exact = len(taken) * size / len(strata)
        # Those of which one was taken all the same come off the others.
        assert got[stratum] <= exact + 1
        assert got[stratum] >= min(exact - len(sizes), size)


@given(strata=STREAMS, count=st.integers(1, 20))
def test_a_larger_sample_holds_the_smaller(strata: dict[str, str | None], count: int) -> None:
    """Without strata: whoever asks for more keeps what was looked at already."""
    assert {*sampled(strata, count)} <= {*sampled(strata, count + 1)}


@given(sizes=st.integers(1, 4), count=st.integers(1, 11), first=st.integers(0, 1_000))
def test_of_strata_of_one_size_each_comes_up(sizes: int, count: int, first: int) -> None:
    """Which of them has the rest is a draw of the seed, and none is always left out."""
    strata = {f"{name}-{number}": name for name in "abcd" for number in range(sizes)}
    drawn = Counter[str]()
    for seed in range(first, first + 64):
        taken = sampled(strata, count, seed=seed, stratum_of=strata.get)
        shares = Counter(strata[one] for one in taken)
        drawn += Counter({name for name, share in shares.items() if share == max(shares.values())})
    assert drawn.keys() == {*"abcd"}
