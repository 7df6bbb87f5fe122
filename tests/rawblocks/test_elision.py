"""Shortened frames: every text is restored, each member in its place, and what is stored is small."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.rawblocks._elision import (
    CLOCK,
    END,
    SENDING,
    SEQUENCE,
    TIME,
    WHOLE,
    Abridged,
    abridge,
    restore,
)

RECEIVED_US = 1_786_410_915_570_000
MARKS = (SEQUENCE, TIME, CLOCK, SENDING)

NUMBERS = st.one_of(
    st.sampled_from(
        [
            "", "0", "-0", "1", "2", "3", "00", "007", "-7", "1.5", "1e3", "\u0663",
            "1786410915566", "01786410915566", "0178641091556", "9" * 15, "1" + "0" * 17, "9" * 18, "9" * 40,
            str(2**63 - 1), str(2**63), str(2**64),
        ]
    ),
    st.from_regex(r"-?[01]{0,4}[0-9]{1,20}", fullmatch=True),
    st.integers(1786410915000, 1786410916000).map(str),
)  # fmt: skip
TIMES = st.sampled_from(
    [
        "2026-08-11T01:15:15.566273Z", "2026-08-11T01:15:15.566Z", "2026-08-11T01:15:15.56Z",
        "2026-08-11T01:15:15.560Z", "2026-08-11T01:15:15.000001Z", "2026-08-11T01:15:15Z",
        "2026-08-11T01:15:15.566273123Z", "2026-08-11t01:15:15.566273Z", "2026-13-99T01:15:15.5Z",
        "2024-02-29T23:59:59.999999Z", "2026-02-30T00:00:00.5Z", "2026-12-31T23:59:60.5Z",
        "0000-00-00T00:00:00.5Z", "1969-12-31T23:59:59.5Z", "9999-12-31T23:59:59.5Z",
        "::::::::::::::::::-.5Z",
    ]
)  # fmt: skip
PIECES = st.one_of(
    st.builds('"sid":{},"seq":{}'.format, NUMBERS, NUMBERS),
    st.builds('"ts":"{}","ts_ms":{}'.format, TIMES, NUMBERS),
    st.builds('"clock":{}'.format, NUMBERS),
    st.builds('"sending_ts_ms":{}'.format, NUMBERS),
    st.builds('"clock": {}'.format, NUMBERS),
    st.builds('\\"clock\\":{}'.format, NUMBERS),
    NUMBERS,
    TIMES,
    st.sampled_from(
        ["{", "}", ",", " ", "\n", '"', '"sid":', '"sid":1,', '"seq":', '"ts":"', '"clock":', "é", "🜚"]
    ),
    st.sampled_from([*MARKS, WHOLE, END, "\x00", "\x06", "\x1d", "\x1f"]),
)
SEPARATED = st.lists(PIECES, max_size=8).map(",".join).map("{}}}".format)
TEXTS = st.one_of(
    SEPARATED,
    st.lists(PIECES, max_size=12).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
)
STAMPED = st.lists(st.tuples(TEXTS, st.integers(-(2**40), 2**60)), max_size=12)


def made(
    text: str,
    *,
    whole: Sequence[str] = (),
    seqs: Sequence[int] = (),
    times: Sequence[int] = (),
    clocks: Sequence[int] = (),
    sent: Sequence[int] = (),
) -> Abridged:
    """What `abridge` makes, with the lists that are not empty."""
    return Abridged(text, list(whole), list(seqs), list(times), list(clocks), list(sent))


def shorten(*texts: str) -> Abridged:
    """Shorten texts that were received at the same instant."""
    return abridge(texts, [RECEIVED_US] * len(texts))


def is_plain(text: str) -> bool:
    """Whether a text has none of the characters that are used for marks."""
    return not set(text) & {*MARKS, WHOLE, END}


def cut_after_marks(abridged: Abridged) -> list[Abridged]:
    """For each mark, what `abridge` made up to it: the text ends there, and so does each list."""
    places = [place for place, character in enumerate(abridged.text) if character in MARKS]
    return [
        Abridged(
            text + END,
            abridged.whole,
            abridged.sequence_numbers[: text.count(SEQUENCE)],
            abridged.times_us[: text.count(TIME)],
            abridged.clocks[: text.count(CLOCK)],
            abridged.sending_times_ms[: text.count(SENDING)],
        )
        for text in (abridged.text[: place + 1] for place in places)
    ]


@given(STAMPED)
@settings(max_examples=500)
@example([("", 0)])
@example([(WHOLE, 0), ("\x05\x05", 1), ('"clock":5,', 2), (END, 3)])
@example([('{"sid":1,"seq":7,"sid":1,"seq":9,"sid":01,"seq":8,', 0), ('"sid":1,"seq":10}', 1)])
def test_every_text_is_restored(stamped: list[tuple[str, int]]) -> None:
    texts = [text for text, _ in stamped]
    received_us = [us for _, us in stamped]

    assert restore(abridge(texts, received_us), received_us) == texts


@given(st.lists(st.tuples(TEXTS.filter(is_plain), st.integers(0, 2**60)), min_size=1, max_size=6))
@example([('{"clock":5,"a":{"clock":6},"clock":07,"clock":8}', 0), ('{"clock":3,"sid":1,"seq":3}', 0)])
def test_a_member_is_put_back_where_it_was(stamped: list[tuple[str, int]]) -> None:
    """What is restored up to any mark is what the original begins with: the place is the same."""
    texts = [text for text, _ in stamped]
    received_us = [us for _, us in stamped]

    for cut in cut_after_marks(abridge(texts, received_us)):
        frames = cut.text.count(END)
        *complete, last = restore(cut, received_us[:frames])
        assert complete == texts[: frames - 1]
        assert texts[frames - 1].startswith(last)


TIME_MEMBERS = '"ts":"2026-08-11T01:15:15.566273Z","ts_ms":1786410915566'
SHAPES = [
    # The likely order of the members, then other orders: the exchange documents none.
    '{{"type":"orderbook_delta","sid":1,"seq":{seq},"msg":{{"side":"no",{time},"clock":{clock}}},"sending_ts_ms":{sent}}}\n',
    '{{"type":"orderbook_delta","sid":1,"seq":{seq},"sending_ts_ms":{sent},"msg":{{"clock":{clock},"side":"no",{time}}}}}',
    '{{"sending_ts_ms":{sent},"type":"orderbook_delta","msg":{{"side":"no","clock":{clock},{time}}},"sid":1,"seq":{seq}}}',
    '{{"sid":1,"seq":{seq},"msg":{{{time},"clock":{clock},"side":"no"}},"type":"orderbook_delta","sending_ts_ms":{sent}}}',
]


@pytest.mark.parametrize("shape", SHAPES)
def test_four_members_are_taken_out_wherever_they_are(shape: str) -> None:
    texts = [
        shape.format(seq=seq, time=TIME_MEMBERS, clock=clock, sent=sent)
        for seq, clock, sent in (
            (5, 9_007_199_254_740_993, 1786410915567),
            (6, 9_007_199_254_740_997, 1786410915569),
        )
    ]
    abridged = shorten(*texts)

    assert not any(character.isdigit() for character in abridged.text.replace('"sid":1', ""))
    assert abridged == made(
        abridged.text,
        seqs=[5, 1],
        times=[1786410915566273, 0],
        clocks=[9_007_199_254_740_993, 4],
        sent=[-3, -1],
    )
    assert restore(abridged, [RECEIVED_US] * 2) == texts


def test_each_subscription_has_its_own_sequence() -> None:
    """A trade between two deltas does not break their numbers."""
    abridged = shorten('{"sid":1,"seq":8,', '{"sid":2,"seq":3,', '{"sid":1,"seq":9,', '{"sid":2,"seq":5,')

    assert abridged.sequence_numbers == [8, 3, 1, 2]


def test_a_sending_time_is_the_difference_from_the_receive_time_of_its_frame() -> None:
    """Also when frames before it have none, or one has two."""
    texts = [
        "",
        '{"sending_ts_ms":1786410915560}',
        "",
        '{"sending_ts_ms":1786410915562,"sending_ts_ms":1786410915563}',
    ]

    abridged = abridge(texts, [0, 1_786_410_915_565_999, 1, 1_786_410_915_561_000])

    assert abridged.sending_times_ms == [-5, 1, 2]


def test_lower_and_equal_numbers_are_taken_out_too() -> None:
    """A clock may repeat, and it may fall in maintenance; so may the other numbers."""
    abridged = shorten('{"clock":9}', '{"clock":9}', '{"clock":0}', '{"sid":1,"seq":5}', '{"sid":1,"seq":2}')

    assert abridged.clocks == [9, 0, -9]
    assert abridged.sequence_numbers == [5, -3]


@pytest.mark.parametrize(
    "text",
    [
        '{"clock":007}',
        '{"clock":-7}',
        '{"clock": 7}',
        '{"clock":7 }',
        '{"clock":7',
        '{"clock":7.5}',
        '{"clock":7e5}',
        '{"clock":"7"}',
        '{"clock":\u0667}',
        '{"clock":1000000000000000000}',
        '{"clock":18446744073709551616}',
        '{"text":"\\"clock\\":7,"}',
        '{"sending_ts_ms":999999999999}',
        '{"sending_ts_ms":01786410915566}',
        '{"sending_ts_ms":17864109155660}',
        '{"sid":1,"seq":0}',
        '{"sid":1,"seq":01}',
        '{"sid":1, "seq":1}',
        '{"sid":1,"a":0,"seq":1}',
        '{"seq":1,"sid":1}',
        '{"sid":1,"seq":1000000000000000}',
        '{"ts":"2026-08-11T01:15:15.566273Z","ts_ms":1786410915567}',
        '{"ts":"2026-08-11T01:15:15.566273Z","ts_ms":01786410915566}',
        '{"ts":"2026-08-11T01:15:15.560Z","ts_ms":1786410915560}',
        '{"ts":"2026-08-11T01:15:15Z","ts_ms":1786410915000}',
        '{"ts":"2026-08-11T01:15:15.566273123Z","ts_ms":1786410915566}',
        '{"ts":"2026-08-11T01:15:15.566273+00:00","ts_ms":1786410915566}',
        '{"ts":"2026-02-30T00:00:00.5Z","ts_ms":1772409600500}',
        '{"ts":"2026-12-31T23:59:60.5Z","ts_ms":1798761600500}',
        '{"ts":"1969-12-31T23:59:59.5Z","ts_ms":1786410915566}',
        '{"ts":1786410915,"ts_ms":1786410915566}',
        '{"ts_ms":1786410915566}',
    ],
)
def test_a_number_in_another_form_stays_in_the_text(text: str) -> None:
    """Only what is restored exactly is taken out."""
    abridged = shorten(text)

    assert abridged == made(text + END)
    assert restore(abridged, [RECEIVED_US]) == [text]


@pytest.mark.parametrize("character", [*MARKS, WHOLE, END])
def test_a_frame_with_one_of_the_marks_is_kept_whole(character: str) -> None:
    """It stays as it is, and the numbers of the frames around it are taken out as if it were not there."""
    texts = ['{"clock":5}', f'{{"clock":6,{character}}}', '{"clock":8}']
    abridged = shorten(*texts)

    text = f"{{{CLOCK}}}{END}{WHOLE}{END}{{{CLOCK}}}{END}"
    assert abridged == made(text, whole=[texts[1]], clocks=[5, 3])
    assert restore(abridged, [RECEIVED_US] * 3) == texts


@pytest.mark.parametrize(
    ("abridged", "frames"),
    [
        (made(""), 1),
        (made(END), 0),
        (made(f"{END}a"), 1),
        (made(f"{END}{SENDING}", sent=[5]), 1),
        (made(f"{CLOCK}{END}"), 1),
        (made(f"{CLOCK}{END}", clocks=[1, 1]), 1),
        (made(END, clocks=[1]), 1),
        (made(f"{SENDING}{END}"), 1),
        (made(f"{SENDING}{END}", sent=[1, 1]), 1),
        (made(f'"sid":1,{SEQUENCE}{END}'), 1),
        (made(f'"sid":1,{SEQUENCE}{END}', seqs=[1, 1]), 1),
        (made(f'"sid":1 {SEQUENCE}{END}', seqs=[1]), 1),
        (made(f"{SEQUENCE}{END}", seqs=[1]), 1),
        (made(f"{TIME}{END}"), 1),
        (made(f"{TIME}{END}", times=[1_786_410_915_566_273, 1]), 1),
        (made(f"{TIME}{END}", times=[999_999_999_999_999]), 1),
        (made(f"{TIME}{END}", times=[10_000_000_000_000_000]), 1),
        (made(f"{TIME}{END}", times=[-1_786_410_915_566_273]), 1),
        (made(f"{WHOLE}{END}"), 1),
        (made(f"{WHOLE}{END}", whole=["a", "b"]), 1),
        (made(f"{WHOLE}a{END}", whole=["a"]), 1),
        (made(f"{WHOLE}{WHOLE}{END}", whole=["a", "b"]), 1),
        (made(f"{WHOLE}{END}a{WHOLE}{END}", whole=["a"]), 2),
        (made(END, whole=["a"]), 1),
    ],
)
def test_what_does_not_add_up_is_refused(abridged: Abridged, frames: int) -> None:
    """Each mark has one number in its list, each frame an end and a receive time."""
    with pytest.raises(ValueError, match=r"^(not one|not a|a sequence number)"):
        restore(abridged, [RECEIVED_US] * frames)


@given(st.datetimes(datetime(2001, 9, 9, 1, 46, 41), datetime(2286, 11, 20), timezones=st.just(UTC)))
@example(datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC))
@example(datetime(2100, 3, 1, 0, 0, 0, 500_000, tzinfo=UTC))
def test_times_of_every_day_are_taken_out(instant: datetime) -> None:
    """Without zeros at their end, as the exchange writes them. A whole second has no decimals and stays."""
    time_us = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    text = f'{{"ts":"{instant:%Y-%m-%dT%H:%M:%S.%f}'.rstrip("0") + f'Z","ts_ms":{time_us // 1000}}}'
    abridged = shorten(text)

    assert abridged.times_us == ([time_us] if instant.microsecond else [])
    assert restore(abridged, [RECEIVED_US]) == [text]
