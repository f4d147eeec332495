"""The page table and the frame around every page: where we are, which symbol, and where the data comes from."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy: two BLAS threads gain nothing here
os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # for child processes; this one is told below

import streamlit as st

from core.memory import few_heaps, give_back
from pages.ui.frame import ICON, PAGES, draw_frame
from pages.ui.session import guarded

few_heaps()
st.set_page_config(page_title="Sextant", page_icon=ICON, layout="wide", initial_sidebar_state="auto")

rows = {row: st.Page(row.file, title=row.title, icon=row.icon, url_path=row.url, default=not row.url) for row in PAGES}
page = st.navigation(list(rows.values()), position="hidden")  # the frame draws its own, below symbol and chip
with guarded("this page"):
    draw_frame(page.title, rows)
    page.run()
give_back()
