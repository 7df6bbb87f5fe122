"""
Raw blocks: runs of a session's stream, frames and notes, verbatim, compressed and hashed.

Pure. Does not know PostgreSQL. Reads no clock. Starts no task.

- `_block`: frames and notes to a block and back. `_elision`: shortens the text of frames, and restores it.
- `_dictionary`: the names of a session's markets, for the compressor. `_primer`: the grammar of frames, for
  the compressor too.
"""

from collector.rawblocks._block import (
    FORMAT,
    BlockContent,
    DamagedBlock,
    RawBlock,
    decode_block,
    encode_block,
    hash_block,
)
from collector.rawblocks._dictionary import Lexicon, LexiconBuilder

__all__ = [
    "FORMAT",
    "BlockContent",
    "DamagedBlock",
    "Lexicon",
    "LexiconBuilder",
    "RawBlock",
    "decode_block",
    "encode_block",
    "hash_block",
]
