"""One thread: FAISS's threads wait for each other by spinning, which takes seconds where other tests run beside."""

import faiss
import pytest


@pytest.fixture(autouse=True)
def one_thread():
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)
