"""Invented people: real sizes and ages, one seed, and the known figures on re-identification."""

import numpy as np
import pandas as pd
import pytest

from privlab import people
from privlab.attacks.linkage import link
from privlab.data import load_age_pyramid, load_zip_populations

ON = ["zip", "sex", "birth_date"]


@pytest.fixture(scope="module")
def town():
    sizes = load_zip_populations().set_index("zip")["population"]
    return people.make_town(sizes.loc["02138":"02142"].to_dict(), np.random.default_rng(5))


def test_sizes_are_the_given_ones(town):
    sizes = load_zip_populations().set_index("zip")["population"].loc["02138":"02142"]
    assert town["zip"].value_counts().sort_index().to_dict() == sizes.to_dict()


def test_one_seed_one_town(town):
    sizes = {"02142": 3141}
    same = [people.make_town(sizes, np.random.default_rng(9)) for _ in range(2)]
    pd.testing.assert_frame_equal(*same)
    other = people.make_town(sizes, np.random.default_rng(10))
    assert not other.equals(same[0])


def test_ages_follow_the_pyramid(town):
    age = people.ages(town["birth_date"])
    assert age.min() >= 0
    assert age.max() <= 99
    pyramid = load_age_pyramid()
    share = pyramid.groupby("age_from")["people"].sum() / pyramid["people"].sum()
    counts = np.bincount(np.minimum(age, 94) // 5, minlength=19)
    expected = share.to_numpy() * len(town)
    # Chi-square with 18 degrees of freedom passes 60 about twice in a million.
    assert ((counts - expected) ** 2 / expected).sum() < 60


def test_age_is_completed_years_on_the_census_day():
    born = pd.to_datetime(pd.Series(["2010-04-01", "2009-04-01", "2009-04-02", "1992-04-01",
                                     "1992-04-02", "2008-02-29"]))  # fmt: skip
    assert people.ages(born).tolist() == [0, 1, 0, 18, 17, 2]


def test_names_fit_the_sex_and_are_not_all_different(town):
    assert town["name"].str.fullmatch(r"\S+ \S.*").all()
    first = town["name"].str.split().str[0]
    women, men = (set(first[town["sex"] == sex]) for sex in ("Female", "Male"))
    assert len(women & men) < 0.2 * len(women)
    assert 5_000 < town["name"].nunique() < len(town)


def test_voters_are_adults_of_the_town(town):
    voters = people.voter_list(town, np.random.default_rng(1), share=0.7)
    adults = (people.ages(town["birth_date"]) >= 18).sum()
    assert len(voters) == round(0.7 * adults)
    assert people.ages(voters["birth_date"]).min() >= 18
    assert voters["person"].is_unique
    assert (town.loc[voters["person"], "name"].to_numpy() == voters["name"]).all()


def test_patients_have_diagnoses_that_fit(town):
    patients = people.hospital_table(town, 20_000, np.random.default_rng(2))
    assert patients["person"].is_unique
    pregnant = patients[patients["diagnosis"] == "pregnancy"]
    assert (pregnant["sex"] == "Female").all()
    assert people.ages(pregnant["birth_date"]).between(16, 48).all()
    old = people.ages(patients["birth_date"]) > 60
    heart = patients["diagnosis"] == "heart attack"
    assert heart[old].mean() > 2 * heart[~old].mean()
    assert patients["diagnosis"].notna().all()


def test_linkage_figures_of_the_lesson(town):
    """Two thirds alone, two fifths named, about nine claims in ten right: seeds agree."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        voters = people.voter_list(town, rng)
        report = link(people.hospital_table(town, 5000, rng), voters, ON)
        assert 0.38 < report.claims / report.targets < 0.47
        assert 0.85 < report.precision < 0.93
    assert 0.59 < (~town.duplicated(ON, keep=False)).mean() < 0.65


@pytest.mark.parametrize(
    "sizes", [{}, {"02138": 0}, {"02138": -1}, {"02138": 2.5}, {"02138": True}]
)
def test_bad_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="zip_sizes"):
        people.make_town(sizes, np.random.default_rng(0))


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_bad_share_is_refused(town, share):
    with pytest.raises(ValueError, match="share"):
        people.voter_list(town, np.random.default_rng(0), share)


@pytest.mark.parametrize("patients", [0, -1, 10**9])
def test_bad_number_of_patients_is_refused(town, patients):
    with pytest.raises(ValueError, match="patients"):
        people.hospital_table(town, patients, np.random.default_rng(0))
