"""The data sets: shapes, types, totals that their sources print, damaged files."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

from privlab import data

ROOT = Path(__file__).parent.parent


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder of data files of its own, with empty caches."""
    for name in data.CHECKSUMS:
        (tmp_path / name).write_bytes((data.data_dir() / name).read_bytes())
    monkeypatch.setattr(data, "data_dir", lambda: tmp_path)
    caches = (data._verified, data._zip_populations)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def test_adult():
    adult = data.load_adult()
    assert adult.shape == (45222, 15)
    assert not adult.isna().any().any()
    assert (adult["income"] == ">50K").mean() == pytest.approx(0.2478, abs=1e-4)
    assert (adult["sex"] == "Male").mean() == pytest.approx(0.675, abs=1e-3)
    assert adult["age"].dtype.kind == "i"


def test_hospitals():
    hospitals = data.load_hospitals()
    assert hospitals["hospital"].value_counts().to_dict() == {
        "Cleveland": 303,
        "Hungary": 294,
        "VA Long Beach": 200,
        "Switzerland": 123,
    }
    # Zeros that stand for "not measured" are missing.
    assert hospitals.query("hospital == 'Switzerland'")["chol"].isna().all()
    assert hospitals[["chol", "trestbps"]].min().min() > 0
    assert hospitals["ill"].equals(hospitals["num"] > 0)
    shares = hospitals.groupby("hospital")["ill"].mean().round(2).to_dict()
    assert shares == {
        "Cleveland": 0.46,
        "Hungary": 0.36,
        "Switzerland": 0.93,
        "VA Long Beach": 0.74,
    }
    assert set(hospitals["fbs"].dropna().unique()) == {True, False}


def test_zip_populations_add_up_to_the_census():
    zips = data.load_zip_populations()
    states = zips[~zips["zip"].str[:3].isin(["006", "007", "009"])]
    # 308,745,538 people in the census of 2010.
    assert states["population"].sum() == pytest.approx(308_745_538, rel=1e-4)
    assert zips["zip"].str.fullmatch(r"\d{5}").all()
    assert zips["zip"].is_unique


def test_age_pyramid_adds_up_to_the_census():
    pyramid = data.load_age_pyramid()
    # 281,421,906 people in the census of 2000.
    assert pyramid["people"].sum() == pytest.approx(281_421_906, rel=1e-4)
    assert pyramid.groupby("sex")["age_from"].apply(list).tolist() == [list(range(0, 95, 5))] * 2


def test_fashion():
    fashion = data.load_fashion()
    assert fashion.X_train.shape == (10_000, 28, 28)
    assert fashion.X_test.shape == (2_000, 28, 28)
    assert fashion.X_train.dtype == fashion.y_train.dtype == np.uint8
    assert set(fashion.y_train) == set(range(10)) == set(range(len(fashion.names)))


def test_speeches():
    speeches = data.load_speeches()
    assert speeches.shape == (31_354, 3)
    assert speeches["play"].nunique() == 38
    assert len(speeches[["play", "role"]].drop_duplicates()) == 1_419


@pytest.mark.parametrize("load", ["adult", "hospitals", "zip_populations", "age_pyramid"])
def test_what_a_learner_changes_stays_theirs(load):
    first = getattr(data, f"load_{load}")()
    first.iloc[:, 0] = first.iloc[::-1, 0].to_numpy()
    second = getattr(data, f"load_{load}")()
    assert not first.equals(second)
    fashion = data.load_fashion()
    fashion.X_train[:] = 0
    assert data.load_fashion().X_train.any()


def test_every_file_is_fine_and_documented():
    assert data.verify_all() == dict.fromkeys(data.CHECKSUMS)
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"\| `(\S+)` \|.*`([0-9a-f]{64})` \|", readme)) == data.CHECKSUMS
    beside = {"README.md", "NOTICE-fashion-mnist.txt"}
    assert {path.name for path in (ROOT / "data").iterdir()} == set(data.CHECKSUMS) | beside


def test_a_missing_file_is_said(scratch):
    (scratch / "us_zip_population_2010.csv.gz").unlink()
    with pytest.raises(data.DataProblem, match=r"us_zip_population_2010\.csv\.gz is missing"):
        data.load_zip_populations()
    report = data.verify_all()
    assert "is missing" in report["us_zip_population_2010.csv.gz"]
    assert report["adult.csv.gz"] is None


def test_a_damaged_file_is_said(scratch):
    with gzip.open(scratch / "us_zip_population_2010.csv.gz", "wt") as file:
        file.write("zcta5,population\n02138,1\n")
    with pytest.raises(data.DataProblem, match="damaged or changed"):
        data.load_zip_populations()
