"""
Raw blocks: runs of frames, verbatim, compressed and checksummed.

Pure. Does not know PostgreSQL. Reads no clock. Starts no task.

- `_block`: frames to a block and back. `_elision`: leaves out numbers that follow from earlier ones.
- `_dictionary`: the names of a session's markets, for the compressor.
"""

from collector.rawblocks._block import DamagedBlock, RawBlock, checksum_of, decode_block, encode_block
from collector.rawblocks._dictionary import Lexicon, LexiconBuilder

__all__ = [
    "DamagedBlock",
    "Lexicon",
    "LexiconBuilder",
    "RawBlock",
    "checksum_of",
    "decode_block",
    "encode_block",
]
