"""
The primer: text that the compressor of every block knows beforehand. Pure.

A small block is mostly the grammar of its frames. The primer has that grammar in the exchange's own wording,
shortened as `_elision` shortens frames. It is part of the format: a block can't be read without it, and
changing one byte of it needs a new format number. The values in it are made up.
"""

from typing import Final

# A reference to text near the end costs least: frames of the commonest kind and newest shape come last.
PRIMER: Final = (
    b'{"type":"error","id":1,"msg":{"code":1,"msg":""}}\n\x1e'
    b'{"type":"subscribed","id":1,"msg":{"channel":"market_lifecycle_v2","sid":3}}\n\x1e'
    b'{"type":"subscribed","id":1,"msg":{"channel":"orderbook_delta","sid":1},\x04}\n\x1e'
    b'{"type":"ok","id":1,"sid":1,\x01,"msg":{"market_tickers":["KX-26"]},\x04}\n\x1e'
    b'{"type":"market_lifecycle_v2","sid":3,\x01,"msg":{"market_ticker":"KX-26","event_type":"determined",'
    b'"result":"yes","open_ts":1786400000,"close_ts":1786400000}}\n\x1e'
    b'{"type":"orderbook_snapshot","sid":1,\x01,"msg":{"market_ticker":"KX-26","market_id":"-4000-8000-",'
    b'"yes_dollars_fp":[["0.0100","100.00"],["0.0200","50.00"]],"no_dollars_fp":[["0.0100","100.00"]],\x03},\x04}\n\x1e'
    b'{"type":"trade","sid":2,\x01,"msg":{"trade_id":"-4000-8000-","market_ticker":"KX-26",'
    b'"yes_price_dollars":"0.5000","no_price_dollars":"0.5000","count_fp":"10.00","taker_side":"yes",'
    b'"taker_outcome_side":"yes","taker_book_side":"bid","is_block_trade":false,"ts":1786400000,'
    b'"ts_ms":1786400000000},\x04}\n\x1e'
    b'{"type":"orderbook_delta","sid":1,\x01,"msg":{"market_ticker":"KX-26","market_id":"-4000-8000-",'
    b'"price_dollars":"0.4500","delta_fp":"-100.00","side":"no",\x02}}\n\x1e'
    b'{"type":"orderbook_delta","sid":1,\x01,"msg":{"market_ticker":"KX-26","market_id":"-4000-8000-",'
    b'"price_dollars":"0.5500","delta_fp":"50.00","side":"yes",\x02,\x03},\x04}\n\x1e'
)
