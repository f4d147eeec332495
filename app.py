"""The page table and the frame around every page: where we are, which symbol, and where the data comes from."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy: two BLAS threads gain nothing here

import streamlit as st

from pages.ui.frame import PAGES, draw_frame
from pages.ui.session import guarded

st.set_page_config(page_title="Sextant", page_icon=":material/explore:", layout="wide", initial_sidebar_state="auto")

page = st.navigation({
    group: [st.Page(p.file, title=p.title, icon=p.icon, url_path=p.url, default=not p.url) for p in PAGES if p.group == group]
    for group in dict.fromkeys(p.group for p in PAGES)
})
with guarded("this page"):
    draw_frame(page.title)
    page.run()
