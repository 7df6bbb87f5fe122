"""One FeedError out of whatever groups the nurseries on the way have made; and the leaves of groups."""

import pytest

from collector.errors import FeedError, FeedLost, FeedRefused, leaves_of, translated_errors


def feed_error(error: BaseException) -> FeedError | None:
    """A timeout is a loss, a FeedError stands for itself, and everything else is a bug."""
    if isinstance(error, TimeoutError):
        return FeedLost(f"timeout: {error}")
    return error if isinstance(error, FeedError) else None


def nested(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    """A group as two nurseries make it."""
    return BaseExceptionGroup("outer", [BaseExceptionGroup("inner", errors)])


LOST, REFUSED, TIMEOUT = FeedLost("gone"), FeedRefused(401, "key"), TimeoutError("5 s")


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (LOST, LOST),
        (nested(LOST), LOST),
        (nested(LOST, REFUSED), REFUSED),
        (nested(TIMEOUT, REFUSED), REFUSED),
        (BaseExceptionGroup("mixed", [nested(LOST), REFUSED]), REFUSED),
    ],
    ids=["alone", "in groups", "the refusal tells more", "than a timeout too", "in groups of several depths"],
)
def test_feed_error_comes_out_alone(raised: BaseException, expected: FeedError) -> None:
    """However the errors of the block are grouped, the caller sees one of them, as the object it is."""
    context = expected.__context__
    with pytest.raises(FeedError) as caught, translated_errors(feed_error):
        raise raised
    assert caught.value is expected
    assert caught.value.__context__ is context, "its own group must not become its context"


@pytest.mark.parametrize("raised", [TIMEOUT, nested(TIMEOUT)], ids=["alone", "in groups"])
def test_foreign_error_is_translated_with_the_original_as_its_cause(raised: BaseException) -> None:
    with pytest.raises(FeedLost, match="timeout: 5 s") as caught, translated_errors(feed_error):
        raise raised
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("bug", [KeyError("bug"), KeyboardInterrupt()], ids=["bug", "interruption"])
def test_what_is_no_feed_error_takes_precedence(bug: BaseException) -> None:
    """A bug, or a cancellation, propagates; alone as it was raised, and without the FeedErrors beside it."""
    with pytest.raises(type(bug)) as alone, translated_errors(feed_error):
        raise bug
    assert alone.value is bug

    for group in (nested(bug), BaseExceptionGroup("mixed", [nested(LOST, bug), TIMEOUT])):
        with pytest.RaisesGroup(type(bug), flatten_subgroups=True) as caught, translated_errors(feed_error):
            raise group
        assert leaves_of(caught.value) == [bug]


def test_block_that_ends_well() -> None:
    with translated_errors(feed_error):
        pass
