"""
Which commands are due on one connection, and what their answers mean.

Pure. Does not know PostgreSQL. Reads no clock. Starts no task. Time comes in as seconds of any steady clock.

- `_conversation`: subscriptions, probes, requests for snapshots. `_membership`: the markets of one
  subscription.
- `_audits`: whose book is compared next, and how fast the exchange is asked.
"""

from collector.subscriptions._audits import Pace
from collector.subscriptions._conversation import Conversation

__all__ = [
    "Conversation",
    "Pace",
]
