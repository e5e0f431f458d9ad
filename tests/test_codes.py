import json
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashzoo.codes import Codes, as_words, health, load_codes, pack, save_codes
from hashzoo.errors import HashzooError


def random_codes(rows, bits, seed=0, ids=None):
    return pack(np.random.default_rng(seed).random((rows, bits)) > 0.5, ids)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_pack_and_unpack_are_inverse(rows, bits, seed):
    wanted = np.random.default_rng(seed).random((rows, bits)) > 0.5
    codes = pack(wanted)
    assert codes.bits == bits
    assert len(codes) == rows
    assert codes.data.shape == (rows, (bits + 7) // 8)
    np.testing.assert_array_equal(codes.unpack(), wanted)
    words = as_words(codes.data)
    assert words.shape == (rows, (bits + 63) // 64)
    assert int(np.bitwise_count(words).sum()) == int(wanted.sum())


def test_the_first_bit_is_the_least_significant():
    assert pack([[1, 0, 0, 0, 0, 0, 0, 0, 1]]).data.tolist() == [[1, 1]]


def test_a_bit_is_a_value_above_zero():
    values = np.array([[-1.0, 0.0, 1e-30, np.inf]])
    assert pack(values).unpack().tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64, np.bool_, np.uint8])
def test_dtype_and_memory_order_do_not_matter(dtype):
    wanted = np.random.default_rng(1).random((12, 21)) > 0.5
    values = wanted.astype(dtype)
    before = values.copy()
    for same in (values, np.asfortranarray(values), np.repeat(values, 2, axis=0)[::2], values[::-1][::-1]):
        assert pack(same).digest() == pack(wanted).digest()
    np.testing.assert_array_equal(values, before)


def test_packing_goes_by_blocks(monkeypatch):
    wanted = np.random.default_rng(1).random((10, 9)) > 0.5
    whole = pack(wanted).digest()
    monkeypatch.setattr("hashzoo.codes.PACK_VALUES", 3 * 9)
    assert pack(wanted).digest() == whole
    bad = wanted.astype(float)
    bad[7, 2] = np.nan
    with pytest.raises(HashzooError, match=r"row 7 .* NaN"):
        pack(bad)


def test_torch_tensors_of_any_dtype():
    torch = pytest.importorskip("torch")
    values = torch.randn(5, 20, requires_grad=True)
    wanted = pack(values.detach().numpy()).digest()
    assert pack(values).digest() == wanted
    assert pack(values.t().contiguous().t()).digest() == wanted
    assert pack(values.to(torch.bfloat16)).digest() == wanted
    assert pack(values > 0).digest() == wanted


def test_rows_of_codes():
    codes = random_codes(6, 10, ids=np.array(list("abcdef")))
    assert codes[2].data.tolist() == codes.data[2:3].tolist()
    assert codes[[4, 0]].ids.tolist() == ["e", "a"]
    assert len(codes[1:3]) == 2
    assert codes[np.array([True, False] * 3)].ids.tolist() == ["a", "c", "e"]


def test_digest_depends_on_all_that_matters():
    codes = random_codes(6, 10)
    digests = {
        codes.digest(),
        codes[::-1].digest(),
        Codes(codes.data, 16).digest(),
        Codes(codes.data, 10, np.arange(6)).digest(),
        Codes(codes.data, 10, np.arange(6).astype(str)).digest(),
    }
    assert len(digests) == 5
    assert Codes(np.asfortranarray(codes.data), 10).digest() == codes.digest()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pack(np.zeros(4)), "not 1-D"),
        (lambda: pack(np.array([["a"]])), "not 2-D <U1"),
        (lambda: pack(np.zeros((2, 2), dtype=complex)), "complex128"),
        (lambda: pack(np.array([[0.0, np.nan]])), "row 0 .* NaN"),
        (lambda: pack(np.zeros((2, 4097))), "4096 bits"),
        (lambda: pack(np.zeros((2, 0))), "not 0"),
        (lambda: pack(np.zeros((2, 3)), ids=[1]), "2 integers or strings"),
        (lambda: pack(np.zeros((2, 3)), ids=[None, 1]), "2 integers or strings"),
        (lambda: Codes(np.zeros((2, 2), np.uint8), 4), "uint8 array"),
        (lambda: Codes(np.zeros((2, 1)), 4), "uint8 array"),
        (lambda: Codes(np.full((2, 1), 16, np.uint8), 4), "padding"),
        (lambda: health(random_codes(0, 4)), "no codes"),
        (lambda: save_codes("x.npz", **{"a.b": random_codes(2, 4)}), "'a.b'"),
    ],
)
def test_wrong_codes_are_refused_in_one_sentence(make, says):
    with pytest.raises(HashzooError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_stored_codes_come_back(tmp_path):
    path = tmp_path / "new" / "codes.npz"
    named = {
        "image": random_codes(7, 13, ids=np.arange(7)),
        "text": random_codes(7, 64, seed=1, ids=np.array(["é", "b", "c", "d", "e", "f", "long name"])),
        "empty": random_codes(0, 5),
    }
    save_codes(path, **named)
    loaded = load_codes(path)
    assert {name: codes.digest() for name, codes in loaded.items()} == {n: c.digest() for n, c in named.items()}
    assert loaded["text"].ids.tolist()[-1] == "long name"
    assert loaded["image"].data.flags.writeable
    assert [entry.name for entry in path.parent.iterdir()] == ["codes.npz"]


def test_equal_codes_give_equal_bytes(tmp_path, monkeypatch):
    codes = {"b": random_codes(7, 13), "a": random_codes(5, 8)}
    save_codes(tmp_path / "one.npz", **codes)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    again = {name: Codes(np.asfortranarray(codes[name].data), codes[name].bits) for name in ("a", "b")}
    save_codes(tmp_path / "two.npz", **again)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "codes.npz"
    save_codes(path, image=random_codes(50, 64))
    good = path.read_bytes()
    middle = len(good) // 2
    for bad in (
        b"",
        b"text",
        good[:-30],
        good[:middle],
        good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
    ):
        path.write_bytes(bad)
        with pytest.raises(HashzooError, match=r"codes\.npz cannot be read"):
            load_codes(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(HashzooError, match="holds no codes"):
        load_codes(path)
    np.savez(path, **{"a.data": np.zeros((2, 1), np.uint8)})
    with pytest.raises(HashzooError, match="codes file"):
        load_codes(path)
    np.savez(path, **{"a.data": np.array([[None]], dtype=object), "a.bits": 8})
    with pytest.raises(HashzooError, match="no number and no text"):
        load_codes(path)
    with pytest.raises(HashzooError, match=r"absent\.npz does not exist"):
        load_codes(tmp_path / "absent.npz")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "codes.npz"
    save_codes(path, image=random_codes(5, 8))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HashzooError):
        save_codes(path, image=random_codes(6, 8))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_health_of_known_codes():
    bits = np.array([[1, 1, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
    report = health(pack(bits))
    assert report["constant_bits"] == 1
    assert report["unique_share"] == 3 / 4
    assert report["balance"] == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    varying = np.abs(np.corrcoef(bits[:, 1:].T.astype(float)))
    assert report["bit_correlation"] == pytest.approx((varying.sum() - 3) / 6, abs=1e-6)
    assert json.loads(json.dumps(report)) == report


def test_health_of_collapsed_and_of_random_codes():
    collapsed = health(pack(np.ones((30, 100))))
    assert collapsed["constant_bits"] == 100
    assert collapsed["unique_share"] == 1 / 30
    assert collapsed["balance"] == collapsed["bit_correlation"] == 0
    random = health(random_codes(4000, 100))
    assert random["constant_bits"] == 0
    assert random["unique_share"] == 1
    assert random["balance"] > 0.97
    assert random["bit_correlation"] < 0.02


def test_correlation_of_many_codes_comes_from_spaced_rows(monkeypatch):
    codes = random_codes(4000, 16)
    monkeypatch.setattr("hashzoo.codes.CORRELATION_WORK", 1000 * 16**2)
    assert health(codes)["bit_correlation"] == health(codes[::4])["bit_correlation"]
