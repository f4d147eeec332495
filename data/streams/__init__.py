"""Live market data: typed messages, local order books, supervised connections, a bounded tick recorder.

    messages    bytes of a frame -> one typed message, or BadFrame with words
    batches     messages -> Candles and Observations
    book        snapshot and diffs -> an order book that never crosses
    hosts       the exact addresses a stream may be opened at
    queues      what waits between the socket and the feeds: bounded, keeps the newest state
    supervisor  one connection kept alive for ever, holes filled before it counts as live
    recorder    ticks in bounded, rotating Parquet
    live        the feeds: closed candles into the store, books, trades; the thread that owns them
"""
