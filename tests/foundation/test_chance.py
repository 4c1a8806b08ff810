import uuid

from shirube.foundation.chance import SUFFIX_ALPHABET, Chance


def test_same_seed_same_run():
    one, two = Chance(7), Chance(7)
    assert [one.uid(), one.suffix(), one.jitter(1.0)] == [two.uid(), two.suffix(), two.jitter(1.0)]


def test_uid_is_a_version_4_uuid_and_suffix_uses_the_alphabet():
    chance = Chance(1)
    for _ in range(200):
        assert uuid.UUID(chance.uid()).version == 4
        assert set(chance.suffix(8)) <= set(SUFFIX_ALPHABET)
