"""Choosing a rule with its parameters, and further rules on the same account: the part that backtests and paper accounts share."""

from __future__ import annotations

import streamlit as st

from core.strategies import STRATEGIES, Parameter, strategy


def title_of(name: str) -> str:
    """How a rule is called on pages; "trend+ema_cross@4h" are two on one account."""
    if "+" in name:
        return " + ".join(title_of(part) for part in name.split("+"))
    rule, _, interval = name.partition("@")
    title = next((s.title for s in STRATEGIES if s.name == rule), "Signals from a file" if rule == "signals" else rule)
    return f"{title} {interval}" if interval else title


def rules(prefix: str, *, slow: str, together: str) -> tuple[str, dict[str, float]]:
    """Draw the choice. `prefix` begins the widgets' keys, `slow` is what reading every module costs, `together` how several rules share
    an account. Returns the rules as they are asked for ("trend,ema_cross@4h") and the first one's parameters, unchecked."""
    names = [s.name for s in STRATEGIES]
    a, b = st.columns([2, 3], vertical_alignment="bottom")
    chosen = strategy(a.selectbox("Strategy", names, format_func=title_of, key=f"{prefix}-rule", persist_state="session"))
    b.markdown(f"{chosen.rule} Meant for {chosen.horizon}." + (f" {slow}" if "*" in chosen.reads else ""))
    *columns, last = st.columns(4)
    also = last.text_input("More rules on this account", key=f"{prefix}-also", placeholder="ema_cross@4h", persist_state="session",
                           help=f"Separated by commas, a longer interval after @. {together}")
    values = {}
    for column, p in zip(columns, chosen.parameters, strict=False):
        with column:
            values[p.name] = _parameter(p, f"{prefix}-{chosen.name}-{p.name}")
    return ",".join([chosen.name, *filter(None, (also or "").replace(" ", "").split(","))]), values


def _parameter(p: Parameter, key: str) -> float:
    return float(st.number_input(
        p.name.replace("_", " ").capitalize(), value=int(p.default) if p.whole else p.default, step=1 if p.whole else 0.01,
        format="%d" if p.whole else "%.2f", key=key, help=f"{p.help} {p.low:g} to {p.high:g}.", persist_state="session"))
