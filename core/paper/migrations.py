"""The ledger's tables, as numbered migrations: a file of any earlier number is brought to the newest when it is opened.

Every row of a chained table is sealed with the one before it; triggers refuse updates and deletes. Money and quantities are decimal
text. `*_ms` are event times, `recorded_ms` is the wall clock and `seen` the price then known.
"""

from __future__ import annotations

CHAINED = ("predictions", "settlements", "accounts", "controls", "decisions", "orders", "fills", "cash", "equity", "alerts", "outbox",
           "deliveries", "audit")
UNCANONICAL = ("id", "tx", "recorded_ms", "seen", "previous", "hash")  # what two runs of the same history may differ in


def _guards(*tables: str) -> str:
    return "".join(f"""
create trigger {t}_stay before update on {t} begin select raise(abort, 'a row of {t} is never changed'); end;
create trigger {t}_remain before delete on {t} begin select raise(abort, 'a row of {t} is never removed'); end;
""" for t in tables)


def _table(name: str, columns: str, unique: str) -> str:
    return (f"create table {name} (id integer primary key, tx integer not null, {columns}, recorded_ms integer not null, "
            f"previous text not null, hash text not null unique, unique ({unique})) strict;\n")


MIGRATIONS = ("""
create table predictions (
  id integer primary key, made_ms integer not null, symbol text not null, market text not null, interval text not null,
  bar_ms integer not null, source text not null, label text not null, horizon integer not null, call integer not null,
  abstained integer not null, content text not null, previous text not null, hash text not null unique,
  unique (symbol, market, interval, bar_ms, source, label)
) strict;
create table settlements (
  id integer primary key, prediction integer not null unique references predictions (id), settled_ms integer not null,
  content text not null, previous text not null, hash text not null unique
) strict;
create trigger predictions_stay before update on predictions begin select raise(abort, 'a prediction is never changed'); end;
create trigger predictions_remain before delete on predictions begin select raise(abort, 'a prediction is never removed'); end;
create trigger settlements_stay before update on settlements begin select raise(abort, 'a settlement is never changed'); end;
create trigger settlements_remain before delete on settlements begin select raise(abort, 'a settlement is never removed'); end;
""",
              # an account is an epoch: a reset opens the next one. Content: symbols, rule, parameters and options, as asked
              _table("accounts", "account integer not null, opened_ms integer not null, reason text not null, capital text not null, "
                     "content text not null", "account")
              # what a person told the runner: place, close, modify, cancel, pause, resume, rearm, settings
              + _table("controls", "account integer not null, key text not null, at_ms integer not null, kind text not null, "
                       "symbol text not null, content text not null", "account, key")
              # one a bar, symbol and strategy, whatever it came to (L2)
              + _table("decisions", "account integer not null, strategy text not null, version text not null, symbol text not null, "
                       "market text not null, interval text not null, bar_ms integer not null, decided_ms integer not null, "
                       "action text not null, state text not null, words text not null, content text not null",
                       "account, strategy, version, symbol, interval, bar_ms")
              # the life of an order: placed, cancelled, expired, refused
              + _table("orders", "account integer not null, key text not null, event text not null, at_ms integer not null, "
                       "symbol text not null, strategy text not null, side integer not null, content text not null",
                       "account, key, event")
              # the key is a pure function of the order (or of the position that ends) and the bar
              + _table("fills", "account integer not null, key text not null, order_key text not null, symbol text not null, "
                       "strategy text not null, side integer not null, effect text not null, reason text not null, price text not null, "
                       "quantity text not null, reference text not null, fee text not null, bar_ms integer not null, "
                       "filled_ms integer not null, seen text not null, content text not null", "account, key")
              # every movement of cash with the balance after it
              + _table("cash", "account integer not null, key text not null, at_ms integer not null, kind text not null, "
                       "amount text not null, balance text not null", "account, key")
              # the account at each close, and the state from which the next bar goes on
              + _table("equity", "account integer not null, bar_ms integer not null, at_ms integer not null, equity text not null, "
                       "cash text not null, gross text not null, state text not null", "account, bar_ms")
              + _table("alerts", "key text not null, at_ms integer not null, kind text not null, symbol text not null, "
                       "words text not null, content text not null", "key")
              + _table("outbox", "key text not null, at_ms integer not null, channel text not null, title text not null, "
                       "words text not null", "key, channel")
              + _table("deliveries", "message integer not null, attempt integer not null, at_ms integer not null, state text not null, "
                       "words text not null", "message, attempt")
              + _table("audit", "at_ms integer not null, kind text not null, words text not null, content text not null",
                       "tx, kind, words")
              + _guards("accounts", "controls", "decisions", "orders", "fills", "cash", "equity", "alerts", "outbox", "deliveries", "audit")
              + """
create index decisions_by_bar on decisions (account, bar_ms);
create index fills_by_symbol on fills (account, symbol, id);
create table runner (one integer primary key check (one = 1), content text not null) strict;
""",
              # on which side of each level set by a person its value stood at the last look; rewritten, not chained
              """
create table levels (level text primary key, beyond integer not null, at_ms integer not null) strict;
""",
              )
