"""Which world is shown, what may be asked outside, and how much of the computer is used."""

from __future__ import annotations

import streamlit as st

from core.sextant import Sextant
from pages.ui import preferences_saving as saving

WORLDS = {"auto": "real if there is any, else simulated", "real": "real", "simulated": "simulated"}
STORAGES = {"lasting": "keeps what is stored", "temporary": "is wiped at a restart"}
NETWORKS = {"auto": "ask the exchange and the other sources", "off": "off: nothing is sent"}


def world(sextant: Sextant) -> None:
    s = sextant.settings
    with st.form("pf-world", border=False):
        a, b = st.columns(2)
        shown = a.selectbox("World", list(WORLDS), index=list(WORLDS).index(s.world), format_func=WORLDS.__getitem__,
                            key=f"pf-world-{s.world}", disabled=saving.locked(s, "world"),
                            help=saving.explain(s, "world", "Real and simulated data live apart and are never shown together."))
        network = b.selectbox("Network", list(NETWORKS), index=list(NETWORKS).index(s.network), format_func=NETWORKS.__getitem__,
                              key=f"pf-network-{s.network}", disabled=saving.locked(s, "network"),
                              help=saving.explain(s, "network", "Only public market data is ever asked for; hosts are fixed in the code."))
        a, b, c = st.columns([2, 1, 1])
        endpoint = a.text_input("Simulated exchange at", s.endpoint, key=f"pf-endpoint-{s.endpoint}", placeholder="http://127.0.0.1:9000",
                                disabled=saving.locked(s, "endpoint"),
                                help=saving.explain(s, "endpoint", "For tests: the address of python -m core exchange on this computer. "
                                                                   "Empty: none."))
        seed = b.number_input("Simulator seed", value=s.simulator_seed, step=1, key=f"pf-seed-{s.simulator_seed}",
                              disabled=saving.locked(s, "simulator_seed"),
                              help=saving.explain(s, "simulator_seed", "Another seed is another simulated world; 0 to 2147483648."))
        threads = c.number_input("Threads", value=s.threads, step=1, key=f"pf-threads-{s.threads}", disabled=saving.locked(s, "threads"),
                                 help=saving.explain(s, "threads", "Symbols scored at the same time, 1 to 16."))
        storage = st.selectbox("Disk", list(STORAGES), index=list(STORAGES).index(s.storage), format_func=STORAGES.__getitem__,
                               key=f"pf-storage-{s.storage}", disabled=saving.locked(s, "storage"),
                               help=saving.explain(s, "storage", "Whether what is stored here survives a restart; pages say where it does "
                                                                 "not. Found by itself on Streamlit Community Cloud."))
        pressed = saving.submit()
    if pressed:
        saving.save({"world": shown, "network": network, "endpoint": endpoint.strip(), "simulator_seed": seed, "threads": threads,
                     "storage": storage})
    st.caption("A runner that is at work read its settings when it was started; stop and start it to take over new ones.")
